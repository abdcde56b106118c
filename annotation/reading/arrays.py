"""One JSON document of many records, streamed: an array of objects, or one object of objects by their key (which becomes `id`)."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any, NoReturn

from annotation.reading import jsonl, strict_json
from annotation.reading.limits import LIMITS, MAX_DEPTH, MAX_LINE_BYTES, MIB, Limits
from annotation.records import Problems, Row, kind

CHUNK = 64 * 1024
_WHITE = re.compile(r"[ \t\r\n]*")
_END = {"[": "]", "{": "}"}


class _Stop(Exception):
    """What was read cannot be read on; the problem is told of."""


class _Text:
    """The document's text, a window at a time."""

    def __init__(self, file: IO[bytes], problems: Problems, digest: Any, limits: Limits) -> None:
        self._file, self._problems, self._digest, self._limits = file, problems, digest, limits
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._read = 0
        self.window = ""
        self.at = 0
        self.ended = False
        self.record = 0

    def more(self, size: int = CHUNK) -> bool:
        """Whether there was more to read."""
        if self.ended:
            return False
        data = self._file.read(size)
        if self._digest is not None:
            self._digest.update(data)
        if not self._read and data:
            if jsonl.wrong_type(data, self._problems):
                raise _Stop
            if data.startswith(jsonl.BOM):
                data = data[len(jsonl.BOM) :]
                self._problems.warn(0, "", "The file begins with a byte-order mark, which was not taken as text.", "import.bom")
        begin, self._read = self._read, self._read + len(data)
        if self._read > self._limits.bytes:
            self.stop(f"More than {self._limits.bytes // MIB:,} MiB of text: send the file in parts.", "upload.too_large")
        self.ended = not data
        try:
            text = self._decoder.decode(data, final=self.ended)
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            self.stop(f"Byte 0x{byte:02X} near byte {begin + error.start + 1} of the file is not UTF-8.", "import.encoding")
        self.window = self.window[self.at :] + text
        self.at = 0
        return not self.ended

    def stop(self, message: str, code: str) -> NoReturn:
        self._problems.add(self.record, "", message, code)
        raise _Stop

    def peek(self) -> str:
        """The next character that is not white space, empty at the end."""
        while True:
            found = _WHITE.match(self.window, self.at)
            assert found is not None
            self.at = found.end()
            if self.at < len(self.window):
                return self.window[self.at]
            if not self.more():
                return ""

    def take(self, expected: str) -> None:
        if (found := self.peek()) != expected:
            what = "the file ends" if not found else "something else stands"
            self.stop(f"Not valid JSON: {what} where “{expected}” is expected.", "import.json")
        self.at += 1

    def value(self) -> Any:
        """The next value, whole."""
        self.peek()
        while True:
            waiting = len(self.window) - self.at
            if waiting > 2 * CHUNK and (full := strict_json.too_full(self.window[self.at :])):
                self.stop(full[1], full[0])
            try:
                value, end = strict_json.decoder.raw_decode(self.window, self.at)
            except json.JSONDecodeError as error:
                size = len(self.window) - self.at
                if size > MAX_LINE_BYTES:
                    self.stop(f"The record is longer than {MAX_LINE_BYTES // MIB} MiB, or is not valid JSON.", "upload.line_too_long")
                # It may only be cut off by the window's end: read on before it is called broken.
                if not self.ended:
                    self.more(max(CHUNK, size))
                    continue
                self._explain(error)
            except ValueError as error:
                self._explain(error)
            except RecursionError:
                self.stop(f"Nested too deeply: the depth limit is {MAX_DEPTH}.", "import.depth")
            else:
                inside = strict_json.bounded(value, self.window[self.at : end], self._problems, self.record)
                self.at = end
                if not inside:
                    raise _Stop
                return value

    def _explain(self, error: ValueError) -> None:
        if isinstance(error, json.JSONDecodeError):
            at = error.pos
            error = json.JSONDecodeError(error.msg, self.window[self.at : at + 40], at - self.at)
        strict_json.explain(error, self.window[self.at : self.at + MAX_LINE_BYTES], self._problems, self.record)
        raise _Stop


def rows(file: IO[bytes], problems: Problems, digest: Any = None, limits: Limits = LIMITS) -> Iterator[tuple[int, Row]]:
    """(number of the record, record). At most a record and a chunk of the file are in memory."""
    text = _Text(file, problems, digest, limits)
    try:
        yield from _records(text, problems, limits)
    except _Stop:
        return


def _records(text: _Text, problems: Problems, limits: Limits) -> Iterator[tuple[int, Row]]:
    opening = text.peek()
    if not opening:
        return
    if opening not in _END:
        text.stop("An array of objects is expected.", "import.json")
    keyed, closing = opening == "{", _END[opening]
    text.take(opening)
    keys: set[str] = set()
    while text.peek() != closing or text.record:
        text.record += 1
        if text.record > limits.rows:
            text.stop(f"More than {limits.rows:,} records: send the file in parts.", "upload.too_large")
        key = ""
        if keyed:
            if text.peek() != '"':
                text.stop("Not valid JSON: a key is expected.", "import.json")
            key = text.value()
            if key in keys:
                problems.add(text.record, "id", "The key occurs twice.", "import.duplicate_key")
            keys.add(key)
            text.take(":")
        value = text.value()
        if not isinstance(value, dict):
            what = f"Record {text.record} is {kind(value)}; an object is expected."
            if keyed:
                what = "This is one object and not a list of records: send an array of objects, or one object a line."
            text.stop(what, "import.not_records")
        yield text.record, {"id": key, **value} if keyed and "id" not in value else value
        if problems.enough:
            return
        if text.peek() == closing:
            break
        text.take(",")
    text.take(closing)
    if text.peek():
        text.stop("Something stands after the end of the document.", "import.json")
