"""A text of the house as its author wrote it, set for reading: a small part of Markdown, everything else shown as it is.

Known: # headings, - and 1. lists, | tables |, > quotations, fenced code, **strong** and *emphasis*, and a backslash before a mark that is
none. All text is escaped before anything else happens; there are no links, no images and no HTML, so nothing in a text can load, run or
point anywhere.
"""

import re
from html import escape

from django.utils.safestring import SafeString, mark_safe

_STRONG = re.compile(r"\*\*(\S(?:[^*]*\S)?)\*\*")
_EMPHASIS = re.compile(r"(?<!\*)\*(\S(?:[^*]*\S)?)\*(?!\*)")
_RULE = re.compile(r"\|?[\s:|-]+\|?")
_FENCE = re.compile(r"^(`{3,})[^`\n]*\n(.*?)^\1[ ]*$", re.MULTILINE | re.DOTALL)
# A mark after a backslash is a letter like any other: meanwhile it is one from the private-use area, where no text of ours is.
_MARKS = "\\`*_[]<>|#"
_HELD = {ord(mark): chr(0xF0000 + place) for place, mark in enumerate(_MARKS)}
_BACK = {0xF0000 + place: escape(mark) for place, mark in enumerate(_MARKS)}
_ESCAPED = re.compile(r"\\([\\`*_\[\]<>|#])")


def render(text: str) -> SafeString:
    """`text` as HTML of headings (from h2 down), lists, tables, quotations, code and paragraphs."""
    text = text.replace("\r\n", "\n").strip()
    made, reached = [], 0
    for fence in _FENCE.finditer(text):
        made += [_prose(text[reached : fence.start()]), f'<pre class="code" tabindex="0">{escape(fence[2].rstrip())}</pre>']
        reached = fence.end()
    made.append(_prose(text[reached:]))
    return mark_safe("\n".join(part for part in made if part))  # noqa: S308 (escaped in _line and above)


def _prose(text: str) -> str:
    held = _ESCAPED.sub(lambda found: found[1].translate(_HELD), text)
    return "\n".join(_block(block.strip("\n")) for block in re.split(r"\n\s*\n", held) if block.strip())


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
    if all(line.startswith(">") for line in lines):
        return f"<blockquote>{_block(chr(10).join(line[1:].strip() for line in lines))}</blockquote>"
    if len(lines) > 1 and lines[0].startswith("|") and _RULE.fullmatch(lines[1]):
        head = "".join(f'<th scope="col">{_line(cell)}</th>' for cell in _cells(lines[0]))
        body = "".join(f"<tr>{''.join(f'<td>{_line(cell)}</td>' for cell in _cells(line))}</tr>" for line in lines[2:])
        return f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f"<p>{_line(block)}</p>"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _line(text: str) -> str:
    safe = escape(" ".join(text.split()))
    marked = _EMPHASIS.sub(r"<em>\1</em>", _STRONG.sub(r"<strong>\1</strong>", safe))
    return marked.translate(_BACK)
