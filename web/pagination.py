"""Cursor pagination: newest first, stable while rows are added."""

from rest_framework.pagination import CursorPagination


class CursorByNewest(CursorPagination):
    ordering = "-id"
    page_size_query_param = "page_size"
    max_page_size = 200
