"""Bytes as a stream that never reads, or allocates, more than there is."""

import io
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast


@contextmanager
def mapped(source: bytes | io.BufferedReader) -> Iterator[IO[bytes]]:
    """A stream over bytes, or over a file that is mapped into memory.

    A plain file allocates the length that a pickle claims before it reads; these two do not.
    """
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
        yield cast(IO[bytes], mapping)
