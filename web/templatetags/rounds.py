"""Tags and filters every screen shares: hostile text, short ids, ages, navigation."""

import math
import re
from datetime import datetime
from functools import cache

from django import template
from django.conf import settings
from django.template import Context
from django.template.base import FilterExpression, Parser, Token
from django.urls import NoReverseMatch, get_script_prefix, get_urlconf, reverse
from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

# Bidirectional overrides can make a text read otherwise than it is stored; control characters (all but newline and tab) can hide in it.
_INVISIBLE = re.compile("[\u202a-\u202e\u2066-\u2069\u200b\u2060\ufeff\x00-\x08\x0b-\x1f\x7f-\x9f]")

_LONG_ID = re.compile(r"[0-9a-f]{16,}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@register.filter
def hostile(text: object) -> SafeString:
    """A model's or an importer's text as escaped, pre-wrapped text: nothing in it is markup, nothing in it stays hidden.

    Direction overrides, zero-width and control characters are shown as their code points.
    """
    return format_html('<div class="prose" dir="auto">{}</div>', mark_safe(visible(escape(str(text)))))  # noqa: S308 (escaped in the same expression)


@register.filter
def shown(text: object) -> str:
    """A piece of hostile text inside a sentence or a marked run: escaped by the template, nothing in it hidden."""
    return visible(str(text))


def visible(text: str) -> str:
    """`text` with invisible characters replaced by their code points; newlines and tabs stay."""
    return _INVISIBLE.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", text.replace("\r\n", "\n"))


@register.filter
def short(identifier: object) -> SafeString:
    """The first eight characters of an id or digest, with a button that copies all of it."""
    text = str(identifier or "")
    if not text:
        return format_html('<span class="muted">{}</span>', "–")
    return format_html(
        '<span class="nowrap"><span class="mono" title="{0}">{1}</span>'
        '<button class="copy" type="button" data-copy="{0}" aria-label="Copy {1}" hidden>copy</button></span>',
        text,
        text[:8],
    )


@register.filter
def brief(value: object) -> SafeString:
    """A detail of an audit entry: ids and digests shortened, lists in words."""
    if isinstance(value, bool):
        return format_html("{}", "yes" if value else "no")
    if isinstance(value, list | tuple):
        return format_html("{}", ", ".join(map(str, value)) or "none")
    if isinstance(value, str) and _LONG_ID.fullmatch(value):
        return short(value)
    return format_html("{}", value)


@register.filter
def ago(moment: datetime | None) -> SafeString:
    """How long ago, in one unit, with the exact time on hover; in the future: "in 5 min"."""
    if moment is None:
        return format_html('<span class="muted">{}</span>', "–")
    seconds = (timezone.now() - moment).total_seconds()
    distance = age(abs(seconds))
    words = "now" if distance == "now" else f"{distance} ago" if seconds >= 0 else f"in {distance}"
    return format_html('<time class="nowrap" datetime="{}" title="{}">{}</time>', moment.isoformat(), _exactly(moment), words)


def age(seconds: float) -> str:
    """A duration of `seconds` ≥ 0 in its largest whole unit."""
    if seconds < 10:
        return "now"
    for limit, size, unit in ((90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h")):
        if seconds < limit:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds / 86_400)} days"


def _exactly(moment: datetime) -> str:
    return timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S %Z")


@register.filter
def duration(seconds: float | None) -> str:
    """Seconds as "42 s", "3 min 20 s", "2 h 5 min"."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@register.filter
def figure(value: float | None) -> str:
    """A measured number with the two figures that mean something: 0.034, 1.2, 57, 1,200."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    places = 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, places):,.{max(0, places)}f}"


@register.filter
def thousands(count: int | None) -> str:
    """A whole number with its thousands apart."""
    return f"{count:,}" if isinstance(count, int) else "–"


@register.filter
def percent(share: float | None) -> str:
    """A share from 0 to 1 as "61 %"."""
    return "–" if share is None else f"{100 * share:.0f} %"


@register.filter
def size(count: int | None) -> str:
    """A number of bytes as "12.3 MB" (powers of 1000)."""
    if count is None:
        return "–"
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


class KeptNode(template.Node):
    # More kinds of a part than anybody uses at once: then it starts anew.
    MOST = 64

    def __init__(self, inner: template.NodeList, key: FilterExpression) -> None:
        self.inner, self.key = inner, key
        self.kept: dict[str, SafeString] = {}

    def render(self, context: Context) -> SafeString:
        key = self.key.resolve(context)
        if not key:
            return self.inner.render(context)
        made = self.kept.get(key)
        if made is None:
            made = self.inner.render(context)
            if len(self.kept) >= self.MOST:
                self.kept.clear()
            self.kept[key] = made
        return made


@register.tag
def kept(parser: Parser, token: Token) -> KeptNode:
    """{% kept key %}…{% endkept %}: a part that is the same wherever `key` is the same, rendered once a process; always, where it is "".

    The key holds everything that the part reads. Never for texts of patients or models, nor for what belongs to one person.
    """
    _, key = token.split_contents()
    inner = parser.parse(("endkept",))
    parser.delete_first_token()
    return KeptNode(inner, parser.compile_filter(key))


@register.simple_tag(takes_context=True)
def nav_link(context: Context, name: str, label: str) -> SafeString:
    """A link of the frame; marked as current on its own page and on the pages below it."""
    address = _address(name, get_urlconf() or settings.ROOT_URLCONF, get_script_prefix())
    if not address:
        return mark_safe("")
    request = context.get("request")
    path = request.path if request is not None else ""
    if path == address:
        return format_html('<a href="{}" aria-current="page">{}</a>', address, label)
    if address != "/" and path.startswith(address):
        return format_html('<a href="{}" aria-current="true">{}</a>', address, label)
    return _elsewhere(address, label)


@cache
def _address(name: str, urlconf: str, prefix: str) -> str:
    """Where a page of the frame lies, looked up once a process: every page names some thirty of them.

    "" in a house built without it: the frame belongs to the lowest app and names pages of those above.
    """
    try:
        return reverse(name, urlconf)
    except NoReverseMatch:
        return ""


@cache
def _elsewhere(address: str, label: str) -> SafeString:
    return format_html('<a href="{}">{}</a>', address, label)
