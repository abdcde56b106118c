"""A campaign's guideline, set for reading as every text of the house is."""

from web.prose import render

__all__ = ["render"]
