"""Work on many files in processes that can be killed: one hanging or greedy file harms no other.

A worker is ``python -m MODULE``, which reads a job per line (JSON) and answers with a line. So
nothing is pickled, a worker imports neither torch nor Lightning, and it may be killed at any
moment.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from videonl.json_text import json_text

Job = dict[str, Any]
Answer = dict[str, Any]


def serve(work: Callable[[Job], Answer], arguments: list[str]) -> None:
    """The loop of a worker: answer jobs from stdin until it ends.

    Args:
        work: does a job; its exceptions are its own affair.
        arguments: ``sys.argv[1:]``: the memory limit in MB, 0 for none.
    """
    _limit_memory(int(arguments[0]) if arguments else 0)
    # Libraries that print must not disturb the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        try:
            answer = work(json.loads(line))
        except MemoryError:
            answer = {"failed": "memory"}
        print(json.dumps(answer), file=answers, flush=True)


def _limit_memory(megabytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    if megabytes:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))


class _Worker:
    """A child process and the thread that reads its answers."""

    def __init__(self, module: str, memory_mb: int) -> None:
        package = str(Path(__file__).resolve().parents[2])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, str(memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        )
        self.answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")  # the process ended

    def ask(self, job: Job, timeout: float) -> Answer:
        """The answer to a job; ``{"failed": "timeout" | "crash"}`` if none comes."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
            line = self.answers.get(timeout=timeout)
        except queue.Empty:
            return {"failed": "timeout"}
        except OSError:
            return {"failed": "crash"}
        if not line:
            return {"failed": "crash"}
        answer: Answer = json.loads(line)
        return answer

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def run_jobs(
    module: str, jobs: Iterable[Job], *, workers: int, timeout: float, memory_mb: int
) -> Iterator[tuple[Job, Answer]]:
    """Do jobs in parallel; yields (job, answer) in the order in which they end.

    Args:
        module: the worker's module; it calls :func:`serve`.
        jobs: JSON-able values.
        workers: processes at a time.
        timeout: seconds that a job may take; then its process is killed.
        memory_mb: address space a worker may use, 0 for any.
    """
    todo: queue.Queue[Job] = queue.Queue()
    for job in jobs:
        todo.put(job)
    done: queue.Queue[tuple[Job, Answer] | None] = queue.Queue()
    stopping = threading.Event()
    current: list[_Worker | None] = [None] * workers

    def drive(slot: int) -> None:
        try:
            while not stopping.is_set():
                job = todo.get_nowait()
                worker = current[slot] = current[slot] or _Worker(module, memory_mb)
                answer = worker.ask(job, timeout)
                if "failed" in answer:  # a fresh process for the next file
                    worker.kill()
                    current[slot] = None
                done.put((job, answer))
        except queue.Empty:
            pass
        finally:
            done.put(None)

    for slot in range(workers):
        threading.Thread(target=drive, args=(slot,), daemon=True).start()
    running = workers
    try:
        while running:
            result = done.get()
            if result is None:
                running -= 1
            else:
                yield result
    finally:
        stopping.set()
        for worker in current:
            if worker is not None:
                worker.kill()


class Journal:
    """What has been done, one JSON line per file, so that an interrupted run goes on.

    Args:
        file: the journal; lines that are damaged by an interruption are ignored.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.entries: dict[str, Answer] = {}
        if file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
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
        with self.file.open("a", encoding="utf-8") as handle:
            handle.write(json_text(entry, ascii=True) + "\n")
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
