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


class Bounded:
    """A file of which nobody reads more than so many bytes at once.

    The standard library reads the directory of a zip archive whole, whatever size it claims.

    Args:
        file: open for reading bytes.
        most: bytes of one ``read``; may be changed.
    """

    def __init__(self, file: io.BufferedReader, most: int) -> None:
        self.file, self.most = file, most
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self.name = file.name

    def read(self, size: int = -1) -> bytes:
        """Bytes from here.

        Raises:
            OSError: more than the bound.
        """
        if size > self.most:
            raise OSError(f"a part of {size} bytes, over the bound of {self.most}")
        return self.file.read(self.most if size < 0 else size)

    def close(self) -> None:
        """Close the file."""
        self.file.close()
