"""A file on its way from a form to the disk: never whole in memory, never in a place that others read, and gone when it is not wanted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import HttpRequest

from annotation.incoming import Incoming, UploadRefused, check_size

# What a form says after its file: whatever lacks it was cut off.
END = "whole"


class Received(UploadedFile):  # type: ignore[type-arg]
    """What a form's file field holds: the file lies in the folder of imports already."""

    def __init__(self, incoming: Incoming, **about: Any) -> None:
        super().__init__(file=None, size=incoming.bytes, **about)
        self.incoming = incoming


class ToImports(FileUploadHandler):
    """Writes the one file of a form. `refused` says why it stopped, when it did."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request)
        self.incoming: Incoming | None = None
        self.refused: UploadRefused | None = None

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        if self.incoming is not None:
            raise StopUpload(connection_reset=True)  # a form of ours has one
        self.incoming = Incoming()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        assert self.incoming is not None
        try:
            self.incoming.write(raw_data)
        except UploadRefused as refused:
            self.refused = refused
            raise StopUpload(connection_reset=True) from None

    def file_complete(self, file_size: int) -> Received | None:
        if self.incoming is None or not self.file_name:
            return None
        return Received(self.incoming, name=self.file_name, content_type=self.content_type, charset=self.charset)

    def discard(self) -> None:
        """Whatever was not made an import of."""
        if self.incoming is not None:
            self.incoming.discard()


@contextmanager
def streamed(request: HttpRequest) -> Iterator[ToImports]:
    """Have the request's file written where imports lie; what is not taken is removed at the end.

    Raises UploadRefused before a byte is read when the request says that it is too large.
    """
    try:
        announced = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        announced = 0
    check_size(announced)
    handler = ToImports(request)
    request.upload_handlers = [handler]
    try:
        yield handler
    finally:
        handler.discard()


def taken(request: HttpRequest, handler: ToImports) -> Received | None:
    """The file of a form, None when none was chosen. Raises UploadRefused when it was refused on the way, or cut off."""
    file = request.FILES.get("file")
    if handler.refused is not None:
        raise handler.refused
    if request.POST.get(END) != "yes" and (handler.incoming is not None or not request.POST.get("server")):
        raise UploadRefused("upload.incomplete", "Incomplete upload: the end of it is missing. Send it again.")
    return file if isinstance(file, Received) else None
