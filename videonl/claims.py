"""Locks on outputs: of two processes that write the same one, the second is refused, or waits.

A claim is a lock on a hidden file beside the output, or in the folder: ``.out.csv.lock``,
``runs/NAME/DATE/.videonl.lock``. The system frees it however its process ends, so a process that
was killed blocks nobody. Where the file system has no locks, the work goes on without one.
"""

import errno
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from videonl.errors import OutputError, VideoNLError
from videonl.files import PathLike, ended_by_signals, in_words, is_stdout, is_stream, try_lock

LOCK = ".videonl.lock"  # in a folder that is written into
_LONGEST_NAME = 200  # bytes; most file systems take 255
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK", "GROUP_RANK")
_held: dict[Path, int] = {}  # lock file -> its descriptor in this process


@contextmanager
def claimed(
    *files: PathLike | None,
    folder: PathLike | None = None,
    shared: bool = False,
    waits: bool = False,
    reads: Iterable[PathLike | None] = (),
) -> Iterator[None]:
    """Lock outputs for this process while the block runs.

    Args:
        files: files that will be written; None, pipes and devices (``-``, too) need no lock.
        folder: a folder in which files of any name will be written.
        shared: let other processes that also pass ``shared`` claim the same outputs, such as the
            shards of one set.
        waits: wait until another process has written them.
        reads: files that the command reads; what is no file does not matter.

    Raises:
        VideoNLError: another process writes one of them, this one reads it, or it stands twice.
        OutputError: one of the files is a folder, or they cannot be written there.

    Example:
        >>> import tempfile
        >>> with claimed(Path(tempfile.mkdtemp()) / "out.csv"):
        ...     pass  # write it
    """
    if sum(f is not None and is_stdout(f) for f in files) > 1:
        raise VideoNLError("two outputs are standard output (-); give one of them a file")
    written = [f for f in files if f is not None and not is_stream(f)]
    _check_own(written, reads)
    with ExitStack() as stack:
        for file in written:
            stack.enter_context(_claim(_lock_beside(file), shown=file, shared=shared, waits=waits))
        if folder is not None:
            lock = Path(os.path.realpath(folder)) / LOCK
            stack.enter_context(_claim(lock, shown=folder, shared=shared, waits=waits))
        yield


def _check_own(written: Sequence[PathLike], reads: Iterable[PathLike | None]) -> None:
    """Refuse an output that is an input of the same command, or another output of it.

    Raises:
        VideoNLError: names the file.
    """
    places = {os.path.realpath(file) for file in written}
    if len(places) < len(written):
        names = ", ".join(os.fspath(file) for file in written)
        raise VideoNLError(f"two outputs are one file ({names}); give each its own name")
    there = {_identity(file): file for file in written if os.path.exists(file)}
    for file in reads if there else ():
        if file is not None and (output := there.get(_identity(file))) is not None:
            raise VideoNLError(
                f"{output} would be written over what this command reads ({file}); give the output "
                "another name"
            )


def _identity(file: PathLike) -> tuple[int, int] | None:
    """What hard and symbolic links of a file have in common; None where there is no such file."""
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def is_written_now(file: PathLike) -> bool:
    """Whether another process has claimed a file; False where the file system has no locks."""
    lock = _lock_beside(file)
    if lock in _held:
        return False
    try:
        handle = os.open(lock, os.O_RDWR)
    except OSError:
        return False
    try:
        return try_lock(handle, shared=True) is False
    finally:
        os.close(handle)


def is_first_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process prints and writes for its job (rank 0 of torchrun, SLURM, Lightning)."""
    return all(environment.get(name, "0") in ("", "0") for name in _RANKS)


def _lock_beside(file: PathLike) -> Path:
    target = Path(os.path.realpath(file))
    name = target.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = sha256(os.fsencode(name)).hexdigest()[:16]
    return target.with_name(f".{name}.lock")


@contextmanager
def _claim(lock: Path, *, shown: PathLike, shared: bool, waits: bool) -> Iterator[None]:
    if lock in _held:  # a command inside of another one
        yield
        return
    made = _make_folders(lock.parent)
    try:
        if not shared:
            _check_place(lock.parent, shown)
        handle = _take(lock, shown=shown, shared=shared, waits=waits)
        if handle is None:
            yield
            return
        _held[lock] = handle
        try:
            with ExitStack() as stack:
                if not shared:
                    stack.enter_context(ended_by_signals(lock))
                yield
        finally:
            _release(lock)
    finally:
        for folder in made:  # nothing came of it
            with suppress(OSError):
                folder.rmdir()


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder; those that were not there, the innermost first."""
    missing = []
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    made: list[Path] = []
    with suppress(OSError):  # the writer says why
        for place in reversed(missing):
            place.mkdir(exist_ok=True)
            made.insert(0, place)
    return made


def _check_place(folder: Path, shown: PathLike) -> None:
    """Refuse an output that cannot be written, before the work of hours of which it is the result.

    Raises:
        OutputError: its folder cannot be made, or takes no new files.
    """
    with in_words(shown):
        folder.mkdir(parents=True, exist_ok=True)
    is_writable = os.path.isfile(shown) and os.access(shown, os.W_OK)  # it may be added to
    if not is_writable and not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(shown, os.strerror(errno.EACCES))


def _take(lock: Path, *, shown: PathLike, shared: bool, waits: bool) -> int | None:
    """The descriptor of a lock file that is locked now; None where there are no locks."""
    for _ in range(100):
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:  # read-only, full: the writer says so, or needs no new file there
            return None
        while (free := try_lock(handle, shared=shared)) is False and waits:
            time.sleep(0.1)
        if free is None:
            os.close(handle)
            with suppress(OSError):
                lock.unlink()
            return None
        if not free:
            owner = os.read(handle, 20).decode("ascii", "replace").strip()
            os.close(handle)
            raise VideoNLError(
                f"{shown} is being written by another process{f' ({owner})' if owner else ''}: "
                "wait until it has ended, or give another name"
            )
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(lock)):
                with suppress(OSError):  # a full disk
                    os.ftruncate(handle, 0)
                    os.write(handle, f"{os.getpid()}\n".encode())
                return handle
        os.close(handle)  # between opening and locking its process ended and removed it
    return None


def _release(lock: Path) -> None:
    handle = _held.pop(lock, None)
    if handle is None:  # a forked child
        return
    if try_lock(handle):  # and nobody else has a share of it
        with suppress(OSError):
            lock.unlink()
    os.close(handle)


def _leave_to_parent() -> None:
    """A forked child, such as a decoding worker, may outlive its parent: it holds no claim."""
    for handle in _held.values():
        with suppress(OSError):
            os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
