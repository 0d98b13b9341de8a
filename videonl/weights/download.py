"""Download published weights over https into a cache: resumed, checked, never incomplete."""

import os
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from videonl.claims import claimed
from videonl.errors import CheckpointError
from videonl.files import expanded, sha256, user_cache, write_text
from videonl.weights.published import Published

LOOPBACK = ("127.0.0.1", "localhost", "::1")
CHUNK = 1024 * 1024
MAX_BYTES = 8 * 1024**3
TIMEOUT = 30.0  # seconds without a byte
Progress = Callable[[int, int | None], None]  # bytes there, bytes in all


def cache_folder() -> Path:
    """``$VIDEONL_CACHE``, or ``videonl/weights`` in the user's cache folder."""
    named = os.environ.get("VIDEONL_CACHE")
    if named:
        return expanded(named)
    base = user_cache()
    if base is None:
        raise CheckpointError(
            "this user has no home folder to keep downloaded weights in; set the environment "
            "variable VIDEONL_CACHE to a folder"
        )
    return base / "weights"


def cached_path(entry: Published) -> Path:
    """Where the file of an entry is, or would be."""
    return cache_folder() / entry.name.split("/")[0] / entry.file


def fetch(entry: Published, *, progress: Progress | None = None) -> Path:
    """The file of an entry: from the cache, or downloaded into it.

    An interrupted download is continued; of several processes one downloads, the others wait. The
    file appears under its name only when it is complete and, where the digest is known, right.

    Args:
        entry: one of ``PUBLISHED``.
        progress: called with the bytes that are there and the bytes in all; None draws a bar.

    Raises:
        CheckpointError: the download failed; says what to fetch and where to put it.
    """
    target = cached_path(entry)
    if target.exists():
        return target
    check_url(entry.url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with claimed(target, waits=True):
            if not target.exists():  # and no other process has fetched it meanwhile
                _fetch(entry, target, progress)
    except (URLError, HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise CheckpointError(
            f"{entry.name}: {entry.url} cannot be downloaded ({reason}); download it elsewhere and "
            f"put it at {target}, or give the path of your copy"
        ) from None
    return target


def _fetch(entry: Published, target: Path, progress: Progress | None) -> None:
    part = target.with_name(target.name + ".part")
    with bar(entry.file) if progress is None else nullcontext(progress) as report:
        download(entry.url, part, report)
    check_digest(entry, part)
    part.replace(target)


def check_url(url: str) -> None:
    """Https only; http for tests on this machine.

    Raises:
        CheckpointError: another scheme or host.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return
    raise CheckpointError(f"{url} is not https; weights are fetched over https only")


class _SafeRedirect(HTTPRedirectHandler):
    """Follows a redirect only to addresses that ``check_url`` allows."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def opener() -> OpenerDirector:
    """An opener of URLs; it honours the usual proxy variables."""
    return build_opener(_SafeRedirect)


def download(url: str, part: Path, progress: Progress) -> None:
    """Fetch a URL into ``part``, from where it stopped the last time.

    Raises:
        URLError, HTTPException, OSError: the network, the server or the disk.
    """
    stamp = part.with_name(part.name + ".etag")
    start = part.stat().st_size if part.exists() and stamp.exists() else 0
    headers = {"User-Agent": "videonl"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": stamp.read_text("utf-8")}
    try:
        response = opener().open(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != 416 or not start:
            raise
        part.unlink()  # our part is longer than the file: begin again
        return download(url, part, progress)
    with response:
        if response.status != 206:
            start = 0
        length = response.length  # None where the server states none, or nonsense
        total = start + length if length is not None else None
        if total is not None and total > MAX_BYTES:
            raise OSError(f"the server announces {total} bytes")
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if tag and not tag.startswith("W/"):
            write_text(stamp, tag)
        else:
            stamp.unlink(missing_ok=True)
        done = receive(response, part, start, total, progress)
    if total is not None and done != total:
        raise OSError(f"the connection ended after {done} of {total} bytes; try again to continue")
    stamp.unlink(missing_ok=True)
    return None


def receive(response: Any, part: Path, start: int, total: int | None, progress: Progress) -> int:
    """Write the body after the first ``start`` bytes; returns the new size of the file."""
    done = start
    with part.open("ab" if start else "wb") as file:
        progress(done, total)
        while chunk := response.read(CHUNK):
            done += len(chunk)
            if done > MAX_BYTES:
                raise OSError(f"the server sends more than {MAX_BYTES} bytes")
            file.write(chunk)
            progress(done, total)
    return done


def check_digest(entry: Published, part: Path) -> None:
    """Compare the SHA-256 with its known start; a wrong file is deleted.

    Raises:
        CheckpointError: they differ.
    """
    if not entry.digest:
        return
    found = sha256(part)
    if not found.startswith(entry.digest):
        part.unlink()
        raise CheckpointError(
            f"{entry.name}: the SHA-256 of the file from {entry.url} starts with "
            f"{found[: len(entry.digest)]}, not {entry.digest}; it was deleted, try again"
        )


@contextmanager
def bar(title: str) -> Any:
    """A progress bar on stderr, gone where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
