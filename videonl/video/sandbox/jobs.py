"""Work on many files in processes that can be killed: one file that hangs harms no other.

The processes are those that decode for ``infer`` and ``serve`` (process.py): nothing is
pickled, they import neither torch nor Lightning, and they may be killed at any moment.
"""

import os
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from videonl.claims import is_written_now
from videonl.errors import VideoNLError
from videonl.escapes import json_text, parse_json
from videonl.files import GrowingFile, write_text
from videonl.shards import Shard, shard_files, shard_path
from videonl.video.sandbox.process import Child, ChildGoneError

Job = dict[str, Any]
Answer = dict[str, Any]
Task = Literal["inspect", "encode"]


def run_jobs(
    task: Task, jobs: Iterable[Job], *, workers: int, timeout: float, memory_mb: int
) -> Generator[tuple[Job, Answer], None, None]:
    """Do jobs in parallel; yields (job, answer) in the order in which they end.

    Args:
        task: what is done with each file; the worker process knows it by this name.
        jobs: values that JSON can hold.
        workers: processes at a time.
        timeout: seconds that a job may take; then its process is killed.
        memory_mb: memory that a job may take in MB; 0: no limit.

    Yields:
        The answer is that of the worker, or ``{"failed": "timeout" | "memory" | "crash"}``.

    Raises:
        VideoNLError: no process can be started.
    """
    todo: queue.Queue[Job] = queue.Queue()
    for job in jobs:
        todo.put(job)
    done: queue.Queue[tuple[Job, Answer] | BaseException | None] = queue.Queue()
    stopping = threading.Event()
    children: set[Child] = set()

    def drive() -> None:
        child: Child | None = None
        try:
            while not stopping.is_set():
                job = todo.get_nowait()
                if child is None:
                    child = Child(memory_mb, may_write=task == "encode")
                    children.add(child)
                    child.wait_until_ready()
                try:
                    answer, _, _ = child.ask({**job, "do": task}, seconds=timeout)
                    if answer.keys() == {"error"}:  # not an answer of the task: it failed in there
                        answer = {"failed": "crash"}
                except ChildGoneError as error:  # a fresh process for the next file
                    children.discard(child)
                    child = None
                    why = str(error)
                    answer = {"failed": why if why in ("timeout", "memory") else "crash"}
                done.put((job, answer))
        except queue.Empty:
            pass
        except Exception as error:
            done.put(error)
        finally:
            done.put(None)

    for _ in range(workers):
        threading.Thread(target=drive, daemon=True).start()
    running = workers
    try:
        while running:
            result = done.get()
            if isinstance(result, BaseException):
                raise result
            if result is None:
                running -= 1
            else:
                yield result
    finally:
        stopping.set()
        for child in list(children):
            child.cancel()
            child.kill()


class Journal:
    """What has been done, one JSON line per file, so that an interrupted run can go on.

    Args:
        file: the journal; lines that are damaged by an interruption are ignored.
        shard: one of several processes; each writes its own journal and reads those of the others.
        forget: start with an empty journal.

    Raises:
        OutputError: it cannot be written there.
    """

    def __init__(self, file: Path, *, shard: Shard | None = None, forget: bool = False) -> None:
        self.entries: dict[tuple[str, str], Answer] = {}
        self.abouts: dict[Path, Answer] = {}  # what each file says of the whole set, the last time
        own = shard_path(file, shard.rank) if shard else file
        self._lines = GrowingFile(own, start=() if forget else None)
        for place in () if forget else (file, *shard_files(file).values()):
            for entry in entries_of(place):
                if isinstance(entry.get("path"), str):
                    key = _key(entry.get("stamp"), entry.get("settings"))
                    self.entries[entry["path"], key] = entry
                elif isinstance(entry.get("set"), dict) and isinstance(entry.get("shard"), dict):
                    self.abouts[place] = entry

    def current(self, path: str, stamp: list[int], settings: Any) -> Answer | None:
        """The entry of a file, if neither the file nor the settings have changed since."""
        return self.entries.get((path, _key(stamp, settings)))

    def say(self, about: Answer) -> None:
        """Write down what is true of the whole set."""
        self._lines.write(json_text(about, ascii=True) + "\n")

    def add(self, path: str, stamp: list[int], settings: Any, answer: Answer) -> Answer:
        """Write down an answer at once."""
        entry = {**answer, "path": path, "stamp": stamp, "settings": settings}
        self.entries[path, _key(stamp, settings)] = entry
        self._lines.write(json_text(entry, ascii=True) + "\n")
        return entry


def entries_of(file: Path) -> Iterator[Answer]:
    """The complete lines of a journal.

    Raises:
        VideoNLError: it cannot be read.
    """
    if not file.is_file():
        return
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise VideoNLError(f"{file} cannot be read ({error.strerror})") from error
    for line in lines:
        with suppress(ValueError):
            entry = parse_json(line)
            if isinstance(entry, dict):
                yield entry


def _key(stamp: Any, settings: Any) -> str:
    return json_text([stamp, settings], ascii=True, sort_keys=True)


@dataclass(frozen=True)
class Parts:
    """The journals of several processes.

    Attributes:
        about: what they state about the whole set.
        file: the merged journal.
        journal: all their entries.
        ranks_missing: processes that left none.
        ranks_writing: processes that are still writing theirs.
    """

    about: Answer
    file: Path
    journal: Journal
    ranks_missing: list[int]
    ranks_writing: list[int]

    def write(self, entries: Iterable[Answer]) -> None:
        """Write the merged journal, from which one process may go on."""
        write_text(self.file, (json_text(entry, ascii=True) + "\n" for entry in entries))


def read_parts(file: Path) -> Parts:
    """Read the journals of all processes that shared one piece of work.

    Args:
        file: the journal that a single process would write.

    Raises:
        VideoNLError: there are none, or they are of different sets of files.
    """
    files = shard_files(file)
    if not files:
        raise VideoNLError(
            f"there are no journals {shard_path(file, 0).name}, ... beside {file}; they are "
            "written where several processes share the work"
        )
    journal = Journal(file)
    abouts = {r: journal.abouts[place] for r, place in files.items() if place in journal.abouts}
    if not abouts:
        raise VideoNLError(
            f"{next(iter(files.values()))} is not the journal of one of several processes"
        )
    about = abouts[min(abouts)]
    size = int(about["shard"]["size"])
    for rank, other in abouts.items():
        if rank < size and any(other.get(key) != about.get(key) for key in about if key != "shard"):
            raise VideoNLError(
                f"{files[rank]} and {files[min(abouts)]} belong to different sets of files or "
                "settings: start all processes again"
            )
    missing = [rank for rank in range(size) if rank not in abouts]
    writing = [rank for rank, place in files.items() if rank < size and is_written_now(place)]
    return Parts(about, file, journal, missing, writing)


def stamp(path: str | os.PathLike[str]) -> list[int]:
    """[size in bytes, modification time in ns] of a file: changes when the file does.

    A file whose status cannot be read (a link that leads nowhere) has [-1, -1].
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # an impossible name
        return [-1, -1]
    return [status.st_size, status.st_mtime_ns]
