"""The process in which untrusted files are decoded; started by process.py.

It reads a job per line (JSON) from its standard input and answers with a line (JSON), after which
the bytes of an array may follow. It imports no torch, opens one file at a time, can write no file
unless it was started to encode, and may be killed at any moment.
"""

import errno
import json
import math
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from videonl.errors import VideoError
from videonl.video.video import Video, open_video

if TYPE_CHECKING:
    from videonl.video.burn import Burner
    from videonl.video.live import LiveReader

SPARE_SECONDS = 2  # the parent kills first; the alarm is for a child whose parent is gone
NO_MEMORY = os.strerror(errno.ENOMEM)
PROPERTIES = ("num_frames", "height", "width", "fps", "end", "exact_by")
Reply = tuple[dict[str, Any], np.ndarray | None]


class OpenFile:
    """Answers jobs about one file at a time."""

    def __init__(self) -> None:
        self.video: Video | None = None
        self.burner: Burner | None = None
        self.reader: LiveReader | None = None

    def reply(self, job: dict[str, Any]) -> Reply:
        """The answer to a job, and an array.

        Raises:
            VideoError: the file cannot be read.
        """
        action = job["do"]
        if action in ("inspect", "encode"):
            return _whole_file(job), None
        if action in ("burn", "burn on"):
            return self._burn(job), None
        if action.startswith("live"):
            return self._live(job)
        if action == "open":
            self.close()
            options = {name: job[name] for name in ("decoder", "threads", "forgiving")}
            self.video = open_video(job["path"], **options)
            names = ("num_frames", "decoder", "declared_frames", "damage", "high_range")
            return {name: getattr(self.video, name) for name in names}, None
        if action == "close":
            self.close()
            return {}, None
        if self.video is None:
            raise VideoError("no file is open")
        if action == "get" and job["name"] in PROPERTIES:
            return {"value": getattr(self.video, job["name"])}, None
        if action == "times":
            return _with_array(self.video.times(job["indices"]).astype(np.float64))
        if action == "read":
            size = job["size"]
            if size.get("inside"):
                size["inside"] = tuple(size["inside"])  # a list on the way
            header, array = _with_array(self.video.read_array(job["indices"], **size))
            damaged = self.video.damaged.intersection(job["indices"])
            return {**header, "damaged": sorted(damaged)}, array
        raise VideoError(f"unknown job {action!r}")

    def _burn(self, job: dict[str, Any]) -> dict[str, Any]:
        """Start writing a file with captions, or continue."""
        if job["do"] == "burn":
            from videonl.video.burn import Burner
            from videonl.video.captions import Caption

            captions = [Caption.from_list(each) for each in job["captions"]]
            self.burner = Burner(Path(job["path"]), Path(job["target"]), captions)
            return {"done": 0, "total": self.burner.total, "finished": False}
        if self.burner is None:
            raise VideoError("no file is open")
        finished = self.burner.step(job["frames"])
        return {"done": self.burner.done, "total": self.burner.total, "finished": finished}

    def _live(self, job: dict[str, Any]) -> Reply:
        """Read a camera or stream, and answer with what is newest."""
        from videonl.video.live import Ended, LiveReader, open_live
        from videonl.video.preprocessing import Preprocessing

        if job["do"] == "live":
            source = open_live(job["source"], allow_stream=job["allow_stream"])
            overlay = None if job["overlay"] is None else Path(job["overlay"])
            shown = Preprocessing.from_dict(job["preprocessing"])
            self.reader = LiveReader(source, shown, overlay=overlay)
            return {"name": source.name, "rate": source.rate}, None
        if self.reader is None:
            raise VideoError("no source is open")
        if job["do"] == "live caption":
            self.reader.caption(tuple((text, share, font) for text, share, font in job["rows"]))
            return {}, None
        if job["do"] == "live close":
            self.reader.close()
            return self.reader.counts(), None
        try:
            clip = self.reader.take(job["wait"])
        except Ended as end:
            return {"ended": str(end), "failed": end.failed}, None
        if clip is None:
            return {}, None
        header, array = _with_array(clip.frames)
        return {**header, "start": clip.start, "end": clip.end, "age": clip.age}, array

    def close(self) -> None:
        """Close the file."""
        if self.video is not None:
            self.video.close()
            self.video = None


def _whole_file(job: dict[str, Any]) -> dict[str, Any]:
    """A job of ``videonl check`` or ``prepare``: a file from its first to its last frame."""
    if job["do"] == "inspect":
        from videonl.video.inspection import inspect_file

        return asdict(inspect_file(job["path"], quick=job["quick"]))
    from videonl.video.encoding import Recipe, encode_file

    return asdict(encode_file(job["path"], job["target"], Recipe(**job["recipe"])))


def _with_array(array: np.ndarray) -> Reply:
    return {"shape": array.shape}, np.ascontiguousarray(array)


def answer(file: OpenFile, job: dict[str, Any]) -> Reply:
    """The reply to a job; an error becomes a sentence, never a traceback."""
    try:
        reply = file.reply(job)
    except MemoryError:
        return {"failed": "memory"}, None
    except VideoError as error:
        if isinstance(error.__cause__, MemoryError):  # FFmpeg's "cannot allocate memory"
            return {"failed": "memory"}, None
        return {"error": str(error)}, None
    except Exception as error:
        return {"error": f"the decoder failed ({type(error).__name__}: {str(error)[:300]})"}, None
    # A decoder that ran out of memory half-way looks like a short file: it must not pass for one.
    starved = file.video is not None and NO_MEMORY in (file.video.damage or "")
    return ({"failed": "memory"}, None) if starved else reply


def limit_process(memory_mb: int, *, may_write: bool) -> None:
    """Limit this process: memory beyond what it has now, no core dumps, no new files."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    limits = {resource.RLIMIT_CORE: 0}
    if not may_write:
        limits[resource.RLIMIT_FSIZE] = 0
    if memory_mb and os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[0])
        limits[resource.RLIMIT_AS] = pages * resource.getpagesize() + (memory_mb << 20)
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))


def set_alarm(seconds: float) -> None:
    """Let the kernel end this process after some seconds, whatever code runs; 0: never."""
    if hasattr(signal, "alarm"):
        signal.alarm(math.ceil(seconds) + SPARE_SECONDS if seconds else 0)


def send(answers: BinaryIO, header: dict[str, Any], array: np.ndarray | None) -> None:
    """Write an answer."""
    answers.write(json.dumps(header).encode("ascii") + b"\n")
    if array is not None:
        answers.write(array.reshape(-1).view(np.uint8).data)
    answers.flush()


def main(arguments: list[str]) -> None:
    """Answer jobs until the parent closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    answers = os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):  # libraries that print must not disturb the answers
        os.dup2(silence, number)
    limit_process(int(arguments[0]), may_write=bool(int(arguments[1])))
    file = OpenFile()
    send(answers, {"ready": True}, None)
    for line in sys.stdin.buffer:
        job = json.loads(line)
        set_alarm(job.get("seconds", 0))
        header, array = answer(file, job)
        send(answers, header, array)
        set_alarm(0)


if __name__ == "__main__":
    main(sys.argv[1:])
    os._exit(0)  # at once: a damaged file may have left the decoder in any state
