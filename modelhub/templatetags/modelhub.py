"""How figures of models are written."""

from django import template

register = template.Library()


@register.filter
def count(number: int) -> str:
    """Parameters as people say them: 1,218,304, then 124 M, then 3.8 B."""
    if number < 10_000_000:
        return f"{number:,}"
    if number < 1_000_000_000:
        return f"{number / 1e6:.0f} M"
    return f"{number / 1e9:.1f} B"


@register.filter
def figure(value: object) -> str:
    """A metric's value: four significant digits, integers whole, lists as their items."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(figure(item) for item in value)
    return str(value)
