"""``videonl live``: classify the newest frames, again and again."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from videonl.inference.overlay import ROWS, row_of
from videonl.inference.predictor import Predictor
from videonl.video.captions import Row
from videonl.video.live import Ended, LiveClip, LiveReader, open_live, shown_name
from videonl.video.preprocessing import Preprocessing
from videonl.video.sandbox import Helper

WAIT = 0.5  # seconds from one look for a signal to the next
HOLDS = 0.5  # probability from which one of several labels is shown


@dataclass(frozen=True)
class Answer:
    """The classification of one clip.

    Attributes:
        start: seconds of its first frame, counted from the first of the source.
        end: seconds of its last.
        late: seconds from the arrival of its last frame to the answer.
        label: the most probable class; with several labels, all above ``HOLDS``.
        classes: the most probable ones with their probabilities.
    """

    start: float
    end: float
    late: float
    label: str
    classes: tuple[tuple[str, float], ...]

    def as_dict(self) -> dict[str, object]:
        """Primitives for JSON."""
        return {
            "start": round(self.start, 6),
            "end": round(self.end, 6),
            "late": round(self.late, 6),
            "label": self.label,
            "classes": [{"class": name, "probability": p} for name, p in self.classes],
        }


class _Apart:
    """A ``LiveReader`` in a process that can be killed."""

    def __init__(self, job: dict[str, object], limits: tuple[float, int]) -> None:
        may_write = job["overlay"] is not None
        name = shown_name(str(job["source"]))
        self._helper = Helper(name, limits, {"do": "live", **job}, may_write=may_write)
        self._rows = Preprocessing.from_dict(job["preprocessing"]).frames  # type: ignore[arg-type]
        self._counts = {"seen": 0, "missed": 0}

    def take(self, wait: float) -> LiveClip | None:
        answer, frames = self._helper.ask({"do": "live take", "wait": wait}, rows=self._rows)
        if "ended" in answer:
            raise Ended(str(answer["ended"]), failed=bool(answer["failed"]))
        if frames is None:
            return None
        return LiveClip(frames, *(float(answer[key]) for key in ("start", "end", "age")))

    def caption(self, rows: tuple[Row, ...]) -> None:
        self._helper.ask({"do": "live caption", "rows": [list(row) for row in rows]})

    def counts(self) -> dict[str, int]:
        return self._counts

    def close(self) -> None:
        try:
            answer, _ = self._helper.ask({"do": "live close"})
            self._counts = {key: int(answer[key]) for key in ("seen", "missed")}
        finally:
            self._helper.close()


Reader = LiveReader | _Apart


def open_reader(
    source: str,
    preprocessing: Preprocessing,
    *,
    allow_stream: bool,
    overlay: Path | None,
    limits: tuple[float, int] | None,
) -> Reader:
    """Open a source and start reading it.

    Args:
        source: see :func:`videonl.video.live.open_live`.
        preprocessing: what the network is shown.
        allow_stream: whether an address may be opened.
        overlay: the MP4 file to write.
        limits: (seconds for an answer, MB of memory; 0: no limit) of the process that reads; None:
            read in this process.

    Raises:
        VideoError: it cannot be opened.
    """
    if limits is None:
        opened = open_live(source, allow_stream=allow_stream)
        return LiveReader(opened, preprocessing, overlay=overlay)
    job = {"source": source, "allow_stream": allow_stream, "preprocessing": preprocessing.to_dict()}
    return _Apart({**job, "overlay": None if overlay is None else os.path.abspath(overlay)}, limits)


def watch(
    predictor: Predictor,
    reader: Reader,
    *,
    top_k: int = 5,
    on_answer: Callable[[Answer], None],
    stopped: Callable[[], bool] = lambda: False,
) -> Ended:
    """Classify the newest clip until the source ends.

    Args:
        predictor: classifies the clips.
        reader: reads the source.
        top_k: classes of an answer.
        on_answer: called with each answer.
        stopped: called twice a second; True stops.

    Returns:
        Why it ended.
    """
    while not stopped():
        try:
            clip = reader.take(WAIT)
        except Ended as end:
            return end
        if clip is None:
            continue
        begin = time.monotonic()
        answer = answer_of(predictor, clip, top_k)
        answer = replace(answer, late=answer.late + time.monotonic() - begin)
        reader.caption(tuple(row_of(*each) for each in answer.classes[:ROWS]))
        on_answer(answer)
    return Ended("it was stopped", failed=False)


def answer_of(predictor: Predictor, clip: LiveClip, top_k: int) -> Answer:
    """Classify a clip; ``late`` is the time that its last frame has waited so far."""
    values = predictor.view_probabilities(torch.from_numpy(clip.frames)[None])[0]
    ranked = predictor.ranked(values)
    label = ranked[0][0]
    if predictor.multi_label:
        label = ", ".join(name for name, p in ranked if p >= HOLDS)
    return Answer(clip.start, clip.end, clip.age, label, tuple(ranked[:top_k]))
