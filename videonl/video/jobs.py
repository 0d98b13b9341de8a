"""Work on many files in processes that can be killed: one hanging or greedy file harms no other.

The processes are those that decode for ``infer`` and ``serve`` (sandbox_process.py): nothing is
pickled, they import neither torch nor Lightning, and they may be killed at any moment.
"""

import json
import os
import queue
import threading
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, Literal

from videonl.files import GrowingFile
from videonl.json_text import json_text
from videonl.video.sandbox_process import Child, ChildGoneError

Job = dict[str, Any]
Answer = dict[str, Any]
Task = Literal["inspect", "encode"]


def run_jobs(
    task: Task, jobs: Iterable[Job], *, workers: int, timeout: float, memory_mb: int
) -> Generator[tuple[Job, Answer], None, None]:
    """Do jobs in parallel; yields (job, answer) in the order in which they end.

    Args:
        task: what is done with each file; the worker process knows it by this name.
        jobs: JSON-able values.
        workers: processes at a time.
        timeout: seconds that a job may take; then its process is killed.
        memory_mb: memory that a job may take, 0 for any.

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
    """What has been done, one JSON line per file, so that an interrupted run goes on.

    Args:
        file: the journal; lines that are damaged by an interruption are ignored.

    Raises:
        OutputError: it can not be written there.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.entries: dict[str, Answer] = {}
        self._lines = GrowingFile(file)
        if file.is_file():
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                    self.entries[entry["path"]] = entry
                except (ValueError, KeyError, TypeError):
                    continue

    def current(self, path: str, stamp: list[int], settings: Any) -> Answer | None:
        """The entry of a file, if neither the file nor the settings have changed since."""
        entry = self.entries.get(path)
        if entry and entry.get("stamp") == stamp and entry.get("settings") == settings:
            return entry
        return None

    def add(self, path: str, stamp: list[int], settings: Any, answer: Answer) -> Answer:
        """Note an answer at once."""
        entry = {**answer, "path": path, "stamp": stamp, "settings": settings}
        self.entries[path] = entry
        self._lines.write(json_text(entry, ascii=True) + "\n")
        return entry


def stamp(path: str | os.PathLike[str]) -> list[int]:
    """[size in bytes, modification time in ns] of a file: changes when the file does.

    A file that can not be asked (a link that leads nowhere) has [-1, -1].
    """
    try:
        status = os.stat(path)
    except OSError:
        return [-1, -1]
    return [status.st_size, status.st_mtime_ns]
