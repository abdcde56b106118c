"""Filters of the lead's page: hostile text inside a mark, shares in words."""

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from web.templatetags.rounds import visible

register = template.Library()


@register.filter
def shown(text: object) -> SafeString:
    """A piece of a model's text: escaped, and nothing in it hidden; the `hostile` filter without its box."""
    return mark_safe(visible(escape(str(text))))  # noqa: S308 (escaped in the same expression)


@register.filter
def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


@register.filter
def percent_number(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}"


@register.simple_tag
def heat_step(count: int, most: int) -> int:
    """How dark a cell of a heat map is: 0 (nothing) to 4 (the most there is)."""
    return 0 if not count or not most else max(1, round(4 * count / most))
