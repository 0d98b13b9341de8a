"""Read and write files: outputs that appear completely or not at all, YAML, lists of text.

Every output of the project is written here. A reader sees the old content or the new one, never a
part; a symbolic link is followed and kept; a pipe or a device (``/dev/stdout``) is written to
directly, and ``-`` is standard output; a failure is one sentence and leaves no partial file behind.
The file is long because every output needs all of these cases: a second writer that knew only some
of them would break the others. Folders of the user stand at its end: not every user has a home, as
a container's user id often has no name.
"""

import csv
import errno
import hashlib
import io
import os
import re
import signal
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import yaml

from videonl.errors import ENDING, OutputError, OutputLost, VideoNLError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# What a disk says that takes no more.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DESCRIPTOR = re.compile(r"(?:/proc/(\d+)|/dev)/fd/(\d+)")
_LONGEST_NAME = 200  # bytes; most file systems take 255, and the name of the part is longer
_STALE_SECONDS = 3600.0  # where files cannot be locked, an unfinished one of this age is nobody's
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|INF)|\.(nan|NAN)")

# What stands for a file that a tool has not fetched, and how to fetch it.
POINTERS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file; run git lfs pull"),
    (b"/annex/objects/", "a git-annex pointer, not the file; run git annex get"),
    (b"outs:\n", "a DVC pointer, not the file; run dvc pull"),
)
_MARKS = (  # the wide ones first: UTF-32's mark begins with that of UTF-16
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)

PathLike = str | os.PathLike[str]


@contextmanager
def whole_file(path: PathLike, *, ending: str | None = None) -> Iterator[Path]:
    """Yield a temporary path for code that writes a file itself; in the end it gets its real name.

    Args:
        path: of the file; its folder is made. A file that is there keeps its mode.
        ending: of what is yielded, such as ``.onnx``; default that of the file.

    Yields:
        A path beside it, of an empty file.

    Raises:
        OutputError: it cannot be written there, or the disk is full; the old file is unchanged.
    """
    place = Path(path)
    ending = place.suffix if ending is None else ending
    if is_stream(place):
        with _spooled(place, ending) as part:
            yield part
        return
    with in_words(place):
        target = Path(os.path.realpath(place))
        target.parent.mkdir(parents=True, exist_ok=True)
        part, handle = _claim(target, ending)
        mode = stat.S_IMODE(os.fstat(handle).st_mode)  # what the user's umask gives
    try:
        with ended_by_signals(part):
            with _disk_in_words(place, part):
                yield part
            with in_words(place):
                _finish(part, handle, target, mode)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        with suppress(OSError):
            os.close(handle)


@contextmanager
def whole_stream(path: PathLike) -> Iterator[IO[bytes]]:
    """A binary stream, seekable; the file appears when the block ends without error.

    An error of writing is raised only when the block ends: C++ libraries that write to a Python
    stream abort the process if it raises while they do.

    Args:
        path: see :func:`whole_file`.

    Raises:
        OutputError: see :func:`whole_file`.

    Example:
        >>> file = Path(tempfile.mkdtemp()) / "a.bin"
        >>> with whole_stream(file) as stream:
        ...     _ = stream.write(b"whole")
        >>> file.read_bytes()
        b'whole'
    """
    with whole_file(path) as part, careful_stream(part, shown=path) as stream:
        yield stream


@contextmanager
def careful_stream(part: Path, *, shown: PathLike) -> Iterator[IO[bytes]]:
    """The stream of :func:`whole_stream`, for a path that :func:`whole_file` yielded.

    Args:
        part: that path.
        shown: the name in the message.

    Raises:
        OutputError: something could not be written.
    """
    sink = _Sink(part, "r+b")
    try:
        with io.BufferedRandom(sink) as stream:
            yield stream
            stream.flush()
            sink.sync()
    except Exception:
        if sink.error is None:
            raise
    if sink.error is not None:  # and not what the library made of it
        raise _output_error(shown, sink.error)


def write_text(path: PathLike, text: str | Iterable[str]) -> None:
    """Write UTF-8, line ends unchanged; names of files that are not UTF-8 keep their bytes.

    Args:
        path: see :func:`whole_file`.
        text: the content, or its parts, which may be read from the old file meanwhile.

    Raises:
        OutputError: see :func:`whole_file`.
    """
    with whole_stream(path) as stream:
        for part in [text] if isinstance(text, str) else text:
            stream.write(part.encode("utf-8", "surrogateescape"))


class GrowingFile:
    """A text file that is appended to; each piece is written at once, completely or not at all.

    Args:
        path: of the file; its folder is made.
        start: new content that replaces the file; None: append to what is there.

    Raises:
        OutputError: it cannot be written there.
    """

    def __init__(self, path: PathLike, *, start: Iterable[str] | None = None) -> None:
        self.path = Path(path)
        self._regular = not is_stream(self.path)
        if self._regular and start is not None:
            write_text(self.path, start)
        with in_words(self.path):
            if self._regular:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
                self._handle = os.open(self.path, flags, 0o666)
            else:
                self._handle = _open_stream(self.path)
        if not self._regular:
            for text in start or ():
                self.write(text)
        elif start is None and self._is_torn():
            self.write("\n")  # a killed run's half line must not swallow the next one

    def _is_torn(self) -> bool:
        size = os.fstat(self._handle).st_size
        if not size:
            return False
        os.lseek(self._handle, size - 1, os.SEEK_SET)
        return os.read(self._handle, 1) != b"\n"

    def write(self, text: str) -> None:
        """Add to the file.

        Raises:
            OutputError: the disk is full; the file ends where it did.
        """
        before = os.fstat(self._handle).st_size
        with in_words(self.path):
            try:
                _write_all(self._handle, text.encode("utf-8", "surrogateescape"))
            except OSError:
                if self._regular:
                    with suppress(OSError):
                        os.ftruncate(self._handle, before)
                raise

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            with in_words(self.path):
                os.close(handle)


def csv_line(cells: Iterable[object], *, end: str = "\r\n") -> str:
    """A row of a CSV file, quoted where it must be."""
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerow(cells)
    return text.getvalue()


def is_stream(path: PathLike) -> bool:
    """Whether a path is a stream, which is written once, from front to back.

    A pipe, a terminal, a device, or an open descriptor such as ``/dev/stdout``.

    Raises:
        OutputError: it is a folder, a socket, or cannot be asked.
    """
    if _descriptor_of(path) is not None:
        return True
    try:
        kind = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False  # the folder is made, or the writer says why it cannot be
    except OSError as error:
        raise _output_error(path, error) from error
    if stat.S_ISDIR(kind):
        raise OutputError(path, "it is a folder; give a file name")
    if stat.S_ISSOCK(kind):
        raise OutputError(path, "it is a socket; give a file or a pipe")
    return not stat.S_ISREG(kind)


def is_stdout(path: PathLike) -> bool:
    """Whether a path is standard output: ``-``, ``/dev/stdout`` and the like."""
    return _descriptor_of(path) == 1


def sha256(path: PathLike) -> str:
    """SHA-256 of a file, in hex."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remove_part(path: PathLike) -> None:
    """Remove the unfinished file that a killed process left."""
    target = Path(os.path.realpath(path))
    for number in range(2):
        part = _part_of(target, number, target.suffix)
        with suppress(OSError):
            if not _in_use(part):
                part.unlink()


def explain_full(error: BaseException) -> str | None:
    """The system's message if an error of any library means that the disk is full; else None."""
    number = getattr(error, "errno", None)
    if number is None and (found := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(found[1])  # how Rust ends its messages
    return os.strerror(number) if number in FULL else None


# --- the part beside the file ---------------------------------------------------------------------


def _part_of(target: Path, number: int, ending: str) -> Path:
    """``.name.part.ending``: hidden, so that it counts as no video."""
    stem = target.stem
    if len(os.fsencode(target.name)) > _LONGEST_NAME:
        stem = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    count = f".{number}" if number else ""
    return target.with_name(f".{stem}{count}.part{ending[: _LONGEST_NAME // 4]}")


def _claim(target: Path, ending: str) -> tuple[Path, int]:
    """(path, locked descriptor) of a part that no other process writes."""
    for number in range(100):
        part = _part_of(target, number, ending)
        handle = _open_new(part)
        if handle is not None:
            return part, handle
    raise OSError(errno.EBUSY, "too many processes are writing it")


def _open_new(part: Path) -> int | None:
    """An empty file, locked as long as it is open; None if another process is writing it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    for _ in range(10):
        try:
            handle = os.open(part, flags, 0o666)
        except FileExistsError:
            if _in_use(part):
                return None
            part.unlink(missing_ok=True)  # a process that was killed left it
            continue
        try_lock(handle)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(part)):
                return handle
        os.close(handle)  # between opening and locking somebody took it for a leftover
    return None


def try_lock(handle: int, *, shared: bool = False) -> bool | None:
    """Whether an open file is now locked by us, as its only holder; None without locks there."""
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (OSError, AttributeError):
        return None
    return True


def _in_use(part: Path) -> bool:
    """Whether another process is writing a part."""
    try:
        found = os.lstat(part)
        if not stat.S_ISREG(found.st_mode):
            return False
        handle = os.open(part, os.O_RDWR)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True  # another user's
    try:
        free = try_lock(handle)
    finally:
        os.close(handle)
    return time.time() - found.st_mtime < _STALE_SECONDS if free is None else not free


def _finish(part: Path, handle: int, target: Path, mode: int) -> None:
    """Give the part its name; a file that is there passes on its mode and owner."""
    with suppress(FileNotFoundError):
        old = os.stat(target)
        mode = stat.S_IMODE(old.st_mode)
        if hasattr(os, "chown") and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
            with suppress(OSError):  # only root may give files away
                os.chown(part, old.st_uid, old.st_gid)
    os.chmod(part, mode)
    if os.name == "nt":
        os.close(handle)
    os.replace(part, target)


class _Sink(io.FileIO):
    """A file that keeps its first error and ignores everything written after it."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write, or swallow what cannot be written."""
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes

    def sync(self) -> None:
        """Wait until the disk has it."""
        try:
            os.fsync(self.fileno())
        except OSError as error:
            self.error = self.error or error

    def close(self) -> None:
        """Close, and remember what went wrong."""
        try:
            super().close()
        except OSError as error:  # a network disk may say only now that it is full
            self.error = self.error or error


_unfinished: dict[Path, int] = {}  # parts, and the process that writes them


def _leave(signum: int, _: object) -> None:
    """Remove what is unfinished and end as the signal ends a process by default."""
    for part, owner in _unfinished.items():
        if owner == os.getpid():  # and not the one that we were forked from
            part.unlink(missing_ok=True)
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


@contextmanager
def ended_by_signals(part: Path | None = None) -> Iterator[None]:
    """SIGTERM and SIGHUP end this process as they do by default, and remove what is unfinished.

    Args:
        part: a file that is unfinished as long as the block runs.
    """
    is_main = threading.current_thread() is threading.main_thread()
    numbers = ENDING if is_main else []
    mine = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    if part is not None:
        _unfinished[part] = os.getpid()
    for number in mine:
        signal.signal(number, _leave)
    try:
        yield
    finally:
        for number in mine:
            if signal.getsignal(number) is _leave:
                signal.signal(number, signal.SIG_DFL)
        if part is not None:
            del _unfinished[part]


# --- what is no regular file ----------------------------------------------------------------------


def _descriptor_of(path: PathLike) -> int | None:
    """The open descriptor of this process that a name such as ``-`` or ``/dev/stdout`` means."""
    if os.fspath(path) == "-":
        return 1
    place = os.path.abspath(path)
    for _ in range(40):
        folder, name = os.path.split(place)
        place = os.path.join(os.path.realpath(folder), name)
        if found := _DESCRIPTOR.fullmatch(place):
            return int(found[2]) if found[1] in (None, str(os.getpid())) else None
        try:
            place = os.path.normpath(os.path.join(folder, os.readlink(place)))
        except OSError:
            return None
    return None


def _open_stream(path: Path) -> int:
    descriptor = _descriptor_of(path)
    if descriptor is None:
        return os.open(path, os.O_WRONLY)
    for shown in (sys.stdout, sys.stderr):
        if shown is not None:
            shown.flush()
    return os.dup(descriptor)  # opened anew, a file would be cut off before its reader's eyes


@contextmanager
def _spooled(place: Path, ending: str) -> Iterator[Path]:
    """A part in the temporary folder, copied into a stream when it is whole."""
    with in_words(place):
        handle, name = tempfile.mkstemp(prefix="videonl-", suffix=ending)
        os.close(handle)
        part = Path(name)
    try:
        with ended_by_signals(part), _disk_in_words(part, part):
            yield part
        with in_words(place):
            handle = _open_stream(place)
            try:
                with part.open("rb") as content:
                    while chunk := content.read(1 << 20):
                        _write_all(handle, chunk)
            finally:
                os.close(handle)
    finally:
        part.unlink(missing_ok=True)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


# --- in words -------------------------------------------------------------------------------------


@contextmanager
def in_words(path: PathLike) -> Iterator[None]:
    """Turn errors of the system about an output into sentences.

    Raises:
        OutputError: such an error.
        OutputLost: the reader of standard output has gone.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _descriptor_of(path) == 1:
            raise OutputLost(error) from None  # `| head` is no error of the user's
        raise _output_error(path, error) from error


@contextmanager
def _disk_in_words(path: PathLike, part: Path) -> Iterator[None]:
    """Turn errors of writing the part into sentences; errors of what is read pass unchanged."""
    try:
        yield
    except OutputError:
        raise
    except Exception as error:
        reason = explain_full(error)
        if reason is None and isinstance(error, OSError) and error.filename == str(part):
            reason = error.strerror
        if reason is None:
            raise
        raise OutputError(path, reason) from error


def _output_error(path: PathLike, error: OSError) -> OutputError:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return OutputError(path, "what should be its folder is a file")
    return OutputError(path, error.strerror or str(error))


# --- YAML -----------------------------------------------------------------------------------------


def read_text(path: PathLike, *, strict: bool = False) -> str:
    """The text of a list that a person or another tool wrote; line ends become line feeds.

    Args:
        path: of a file.
        strict: raise for an encoding that is not Unicode; else its bytes are kept as surrogates,
            as Python keeps such file names.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: see ``strict``.
    """
    return text_of(Path(path).read_bytes(), strict=strict)


def text_of(data: bytes, *, strict: bool = False) -> str:
    """Text in UTF-8, UTF-16 or UTF-32, with or without a byte order mark; see :func:`read_text`.

    Example:
        >>> [text_of("ab".encode(name)) for name in ("utf-8-sig", "utf-16", "utf-16-be")]
        ['ab', 'ab', 'ab']
    """
    text = data.decode(_encoding_of(data), "strict" if strict else "surrogateescape")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encoding_of(data: bytes) -> str:
    """Of text: by its mark, else by the zero bytes that letters of ASCII have in wide encodings."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    if b"\0" not in data:
        return "utf-8"
    found = {}
    for name in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        with suppress(UnicodeDecodeError):
            text = data.decode(name)
            found[name] = sum("\0" < letter < "\x7f" for letter in text) / max(1, len(text))
    best = max(found, key=found.__getitem__, default="utf-8")
    return best if found.get(best) else "utf-8"


_LONGEST_YAML = 65_536  # characters; a configuration of ours has some hundreds
_LONGEST_NUMBER = 100  # digits
_DEEPEST_YAML, _MOST_KEYS = 50, 10_000


class _Loader(yaml.SafeLoader):
    """YAML without tags and dates, in which 1e-4 is a number (YAML 1.1 takes it for text)."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Any node; refuses deeper nesting than any configuration has: hostile files cost time."""
        self.depth += 1
        if self.depth > _DEEPEST_YAML:
            raise RecursionError
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def flatten_mapping(self, node: Any) -> None:
        """Fill in what ``<<`` merges; tables that merge each other can grow without bounds."""
        super().flatten_mapping(node)  # type: ignore[no-untyped-call]
        if len(node.value) > _MOST_KEYS:
            raise yaml.constructor.ConstructorError(
                None, None, f"a table of over {_MOST_KEYS} keys", node.start_mark
            )

    def compose_mapping_node(self, anchor: Any) -> Any:
        """A table; a key that is given twice in it is an error."""
        node = super().compose_mapping_node(anchor)
        seen: set[Hashable] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                continue
            value = self.construct_object(key)
            if value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(value)
        return node

    def construct_yaml_int(self, node: Any) -> int:
        """An integer; refuses numbers so long that parsing them takes time."""
        if len(node.value) > _LONGEST_NUMBER:
            raise yaml.constructor.ConstructorError(
                None, None, f"a number of {len(node.value)} digits", node.start_mark
            )
        return super().construct_yaml_int(node)  # type: ignore[no-any-return]


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in pairs if not tag.endswith((":float", ":timestamp"))]
    for letter, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(rf"^({_FLOAT.pattern})$"), list("-+0123456789.")
)
# The first pattern that fits wins: whole numbers are tried before floats.
for _letter, _pairs in _Loader.yaml_implicit_resolvers.items():
    _pairs.sort(key=lambda pair: pair[0].endswith(":float"))


def parse_yaml(text: str, *, source: str) -> Any:
    """Parse YAML with a safe loader.

    Args:
        text: the YAML.
        source: what to call it in a message.

    Raises:
        VideoNLError: not YAML, longer than any configuration, or a key that is given twice in one
            table; with the line.

    Example:
        >>> parse_yaml("{rate: 1e-4, list: [1, no]}", source="here")
        {'rate': 0.0001, 'list': [1, False]}
    """
    if len(text) > _LONGEST_YAML:
        raise VideoNLError(
            f"{source} is too long for a configuration: over {_LONGEST_YAML} characters"
        )
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise VideoNLError(f"{source} is not YAML: it is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        if problem.endswith("is given twice"):
            raise VideoNLError(f"{source}{where}: {problem}; keep one of the two") from error
        raise VideoNLError(f"{source} is not YAML{where}: {problem}") from error


def read_yaml(path: PathLike) -> Any:
    """What a YAML file holds.

    Raises:
        VideoNLError: the file cannot be read, or see :func:`parse_yaml`.
    """
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            text = file.read(_LONGEST_YAML + 1)
    except OSError as error:
        raise VideoNLError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise VideoNLError(f"{path} is not YAML: it is not UTF-8 text") from error
    return parse_yaml(text, source=os.fspath(path))


def user_cache() -> Path | None:
    """``videonl`` in the user's cache folder; None for a user without a home folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "videonl"
    except RuntimeError:  # HOME is not set, and the user's id has no entry of its own
        return None


def cache_folder() -> Path | None:
    """The folder for what can be made again: ``$VIDEONL_CACHE``, else as ``user_cache``."""
    named = os.environ.get("VIDEONL_CACHE")
    return expanded(named) if named else user_cache()


def expanded(path: str | Path) -> Path:
    """A path whose ``~`` is the home folder.

    Raises:
        VideoNLError: it begins with one, and there is no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise VideoNLError(
            f"{path}: there is no such home folder; write the full path or set HOME"
        ) from None
