"""Downloads that are taken up where they broke: HTTP ranges, by RFC 9110, over anything whose bytes can be asked for from a place on."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


class Part(NamedTuple):
    """Bytes from `start` to before `stop`, and whether that is less than all."""

    start: int
    stop: int
    partial: bool


def part(request: HttpRequest, size: int, tag: str) -> Part | None:
    """What is asked for, by RFC 9110, 14.2; None where no byte of it exists.

    Several ranges at once, and ranges of a version that is not this one, get the whole.
    """
    asked = _RANGE.fullmatch(request.headers.get("Range", ""))
    if asked is None or request.headers.get("If-Range", tag) != tag or asked.groups() == ("", ""):
        return Part(0, size, False)
    first, last = asked.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
    return Part(start, stop, True) if start < min(stop, size) else None


def answer(
    request: HttpRequest, blocks: Callable[[int, int], Iterable[bytes]], *, size: int, tag: str, name: str, content_type: str
) -> HttpResponseBase:
    """The file `name` as an attachment, or the part of it that is asked for; 416 where there is none, 304 where it is known.

    `blocks(start, stop)` gives the bytes; `tag` is the ETag with its quotes, of these very bytes.
    """
    wanted = part(request, size, tag)
    if wanted is None:
        response: HttpResponseBase = HttpResponse(status=416)
        response["Content-Range"] = f"bytes */{size}"
        return response
    if tag in [known.strip() for known in request.headers.get("If-None-Match", "").split(",")]:
        response = HttpResponse(status=304)
        response["ETag"] = tag
        return response
    content = blocks(wanted.start, wanted.stop) if request.method == "GET" else iter(())
    response = StreamingHttpResponse(content, content_type=content_type, status=206 if wanted.partial else 200)
    if wanted.partial:
        response["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{size}"
    response["Content-Length"] = str(wanted.stop - wanted.start)
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = tag
    response["Content-Disposition"] = content_disposition_header(True, name) or "attachment"
    # Whatever is in it, it is opened by no page of ours.
    response["Content-Security-Policy"] = "sandbox"
    return response
