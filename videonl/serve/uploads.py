"""Receive an upload: directly into a private file, with limits of size and time."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from videonl.video.spool import SpoolFile

IDLE_SECONDS = 30.0  # a client that sends nothing for so long is given up
UPLOAD_SECONDS = 900.0  # 256 MB at 2.3 Mbit/s
FORM_BYTES = 1 << 16  # boundaries, headers and small fields around the file
WRITE_BYTES = 1 << 20
BODY = "send the video as multipart/form-data or as the body itself"


class UploadError(Exception):
    """An upload that is refused: an HTTP status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


async def receive_upload(request: Request, file: SpoolFile, *, limit: int) -> str:
    """Write the video of a request's body into a file.

    Args:
        request: ``multipart/form-data`` with one file, or the bytes of the file themselves.
        file: takes the video.
        limit: bytes a video may have.

    Returns:
        The client's name for the file, to show, never to open.

    Raises:
        UploadError: too large, too slow, not a form with one file, or empty.
        ClientDisconnect: the client went away.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > limit + FORM_BYTES:
        raise too_large(limit)
    sink = Sink(file.handle, limit)
    form = None
    if kind == b"multipart/form-data":
        form = Form(sink, options.get(b"boundary", b""))
    elif kind.startswith(b"text/") or kind in (
        b"application/json",
        b"application/x-www-form-urlencoded",
    ):
        raise UploadError(415, BODY)
    total = 0
    async for chunk in _chunks(request):
        total += len(chunk)
        if total > limit + FORM_BYTES:
            raise too_large(limit)
        if form:
            form.feed(chunk)
            if total - sink.size > FORM_BYTES:  # a form of tiny fields takes minutes to parse
                raise UploadError(
                    413, f"the form has more than {FORM_BYTES} bytes beside the video; {BODY}"
                )
        else:
            sink.take(chunk)
        if len(sink.waiting) >= WRITE_BYTES:
            await asyncio.to_thread(sink.write)
    if form:
        form.finish()
    await asyncio.to_thread(sink.write)
    if not sink.size:
        raise UploadError(400, "the upload contains no video (0 bytes); send the file's content")
    return (form.file_name if form else "") or "upload"


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The chunks of the body."""
    stream = request.stream()
    loop = asyncio.get_running_loop()
    end = loop.time() + UPLOAD_SECONDS
    while True:
        try:
            async with asyncio.timeout(min(IDLE_SECONDS, end - loop.time())):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise UploadError(
                408, "the upload was too slow; send it again, or a smaller one"
            ) from None
        yield chunk


def too_large(limit: int) -> UploadError:
    """The error for a file that is too large."""
    return UploadError(
        413,
        f"the video is larger than {limit / 1e6:g} MB, the limit of this server; "
        "cut it, or scale it down",
    )


class Sink:
    """Counts the bytes of the video and writes them to the file in large pieces."""

    def __init__(self, handle: IO[bytes], limit: int) -> None:
        self._handle, self._limit = handle, limit
        self.waiting = bytearray()
        self.size = 0

    def take(self, data: bytes) -> None:
        """Take bytes.

        Raises:
            UploadError: too many.
        """
        self.size += len(data)
        if self.size > self._limit:
            raise too_large(self._limit)
        self.waiting += data

    def write(self) -> None:
        """Write the collected bytes.

        Raises:
            UploadError: the disk is full.
        """
        try:
            self._handle.write(self.waiting)
            self._handle.flush()
        except OSError as error:
            sentence = (
                f"the upload cannot be stored ({error.strerror}); try a smaller file, or later"
            )
            raise UploadError(507, sentence) from error
        self.waiting.clear()


class Form:
    """Takes the one file from a ``multipart/form-data`` body; other fields are dropped."""

    def __init__(self, sink: Sink, boundary: bytes) -> None:
        self.file_name = ""
        self._sink = sink
        self._inside = self._found = self._ended = False
        self._field, self._value = b"", b""
        self._disposition = b""
        callbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_end": self._end,
        }
        try:
            if not boundary:
                raise FormParserError("no boundary")
            self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        except FormParserError as error:
            raise UploadError(400, f"the form cannot be read ({error}); {BODY}") from error

    def feed(self, chunk: bytes) -> None:
        """Take a piece of the body.

        Raises:
            UploadError: malformed, several files, too large.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise UploadError(400, f"the form cannot be read ({error}); {BODY}") from error

    def finish(self) -> None:
        """Handle the end of the body.

        Raises:
            UploadError: it ended early, or contained no file.
        """
        if not self._ended:
            raise UploadError(400, "the form is incomplete; send it again")
        if not self._found:
            raise UploadError(400, "the form contains no file; name the field video")

    def _begin(self) -> None:
        self._inside, self._disposition = False, b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            return
        if self._found:
            raise UploadError(400, "send one video at a time")
        self._inside = self._found = True
        self.file_name = clean_name(options[b"filename"])

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self._sink.take(data[start:end])

    def _end(self) -> None:
        self._ended = True


def clean_name(raw: bytes) -> str:
    """A file name that can be shown: the last part of a path, printable, not too long."""
    text = raw.decode("utf-8", "replace").replace("\\", "/").rsplit("/", 1)[-1]
    return re.sub(r"[\x00-\x1f\x7f]", "", text)[:200]
