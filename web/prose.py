"""A text of the house as its author wrote it, set for reading: a small part of Markdown, everything else shown as it is.

Known: # headings, - and 1. lists, | tables |, **strong** and *emphasis*. All text is escaped before anything else happens; there are no
links, no images and no HTML, so nothing in a text can load, run or point anywhere.
"""

import re
from html import escape

from django.utils.safestring import SafeString, mark_safe

_STRONG = re.compile(r"\*\*(\S(?:[^*]*\S)?)\*\*")
_EMPHASIS = re.compile(r"(?<!\*)\*(\S(?:[^*]*\S)?)\*(?!\*)")
_RULE = re.compile(r"\|?[\s:|-]+\|?")


def render(text: str) -> SafeString:
    """`text` as HTML of headings (from h2 down), lists, tables and paragraphs."""
    blocks = re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip())
    return mark_safe("\n".join(_block(block.strip("\n")) for block in blocks if block.strip()))  # noqa: S308 (escaped in _line)


def _block(block: str) -> str:
    lines = block.split("\n")
    if heading := re.match(r"(#{1,3})\s+(.*)", lines[0]):
        level = len(heading[1]) + 1
        rest = "\n".join(lines[1:])
        return f"<h{level}>{_line(heading[2])}</h{level}>" + (_block(rest) if rest.strip() else "")
    for mark, tag in ((r"[-*]\s+", "ul"), (r"\d+[.)]\s+", "ol")):
        if re.match(mark, lines[0]):
            items = re.split(rf"\n(?={mark})", block)
            listed = "".join(f"<li>{_line(re.sub(mark, '', item, count=1))}</li>" for item in items)
            return f"<{tag}>{listed}</{tag}>"
    if len(lines) > 1 and lines[0].startswith("|") and _RULE.fullmatch(lines[1]):
        head = "".join(f'<th scope="col">{_line(cell)}</th>' for cell in _cells(lines[0]))
        body = "".join(f"<tr>{''.join(f'<td>{_line(cell)}</td>' for cell in _cells(line))}</tr>" for line in lines[2:])
        return f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f"<p>{_line(block)}</p>"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _line(text: str) -> str:
    safe = escape(" ".join(text.split()))
    return _EMPHASIS.sub(r"<em>\1</em>", _STRONG.sub(r"<strong>\1</strong>", safe))
