"""Windows over time: where they lie, that they equal the predictor, and how they are merged."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from tests.inference.networks import write_checkpoint
from tests.videos import numbered_frames, write_timed, write_video
from videonl import Predictor
from videonl.errors import VideoError, VideoNLError
from videonl.inference import Segment, Timeline, Window, timeline_of
from videonl.video import DecoderPool, Video, open_video


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    checkpoint = write_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    return Predictor.from_checkpoint(checkpoint, device="cpu", max_views_per_forward=3)


def test_windows_cover_the_video_and_the_last_ends_with_it(
    predictor: Predictor, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "a.mp4", 45, fps=10)
    windows = timeline_of(predictor, path, window=2.0, hop=1.0).windows
    assert [(w.start, w.end) for w in windows] == [(0, 2), (1, 3), (2, 4), (2.5, 4.5)]
    assert [(w.first, w.last) for w in windows] == [(0, 20), (10, 30), (20, 40), (25, 45)]
    path = write_video(tmp_path / "short.mp4", 5, fps=10)
    windows = timeline_of(predictor, path, window=2.0, hop=1.0).windows
    assert [(w.start, w.end, w.first, w.last) for w in windows] == [(0, 0.5, 0, 5)]


def test_a_gap_shows_the_frame_on_display(predictor: Predictor, tmp_path: Path) -> None:
    path = write_timed(tmp_path / "a.mp4", [0.0, 0.1, 9.0, 9.1], last=0.1)
    windows = timeline_of(predictor, path, window=1.0, hop=2.0).windows
    assert [(w.first, w.last) for w in windows] == [(0, 2), *[(1, 2)] * 4, (2, 4)]
    windows = timeline_of(predictor, path, window=0.001, hop=4.0).windows
    assert [(w.first, w.last) for w in windows] == [(0, 1), (1, 2), (1, 2), (3, 4)]
    with pytest.raises(VideoNLError, match=r"hop must be at least 0.001 s, got 0 s"):
        timeline_of(predictor, path, window=1.0, hop=0.0)


VARIABLE = [i * 2 + (i % 3 == 0) for i in range(60)]


@pytest.mark.parametrize(
    ("name", "codec", "times", "fps"),
    [
        ("a.mp4", "libx264", None, None),
        ("b.mkv", "libx264", VARIABLE, 30.0),
        ("c.avi", "mpeg4", None, None),
        ("d.webm", "libvpx", None, 15.0),
    ],
)
def test_each_window_equals_the_predictor_on_that_stretch(
    name: str,
    codec: str,
    times: list[int] | None,
    fps: float | None,
    predictor: Predictor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("videonl.inference.windows.BLOCK", 5)
    monkeypatch.setattr(predictor, "preprocessing", predictor.preprocessing.changed(fps=fps))
    path = write_video(tmp_path / name, 60, fps=50 if times else 25, codec=codec, times=times)
    timeline = timeline_of(predictor, path, window=0.8, hop=0.5)
    assert len(timeline.windows) >= 4
    with open_video(path) as video:
        every, moments = video.read(list(range(video.num_frames))), video.times()
    for window, scores in zip(timeline.windows, timeline.probabilities, strict=True):
        # The stretch as a lossless file of its own, through the predictor's own road.
        ticks = np.round((moments - moments[window.first])[window.first : window.last] * 1000)
        part = write_stretch(
            tmp_path / "part.mkv", every[window.first : window.last], ticks.astype(int).tolist()
        )
        told = predictor.predict(part, views=(1, 1), top_k=3)
        expected = dict(zip(told.classes, told.probabilities, strict=True))
        for k, label in enumerate(timeline.class_names):
            assert scores[k] == pytest.approx(
                expected[label], abs=3e-2
            )  # scaled in planes, and in RGB
        seen = [window.first + frame for frame in told.views[0].frames]
        assert seen == window.indices(moments, predictor.preprocessing)


def write_stretch(path: Path, frames: torch.Tensor, ticks: list[int]) -> Path:
    return write_video(
        path, frames.numpy(), fps=1000, codec="ffv1", pixel_format="bgr0", times=ticks
    )


def test_a_file_shorter_than_a_window_equals_predict_bit_for_bit(
    predictor: Predictor, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "short.mp4", 12)
    timeline = timeline_of(predictor, path, window=2.0, hop=1.0)
    told = predictor.predict(path, views=(1, 1), top_k=3)
    assert timeline.top(0, 3) == list(zip(told.classes, told.probabilities, strict=True))
    assert timeline.duration == pytest.approx(12 / 25)


def test_decoding_in_another_process_changes_nothing(predictor: Predictor, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 60)
    here = timeline_of(predictor, path, window=0.5, hop=0.25)
    original = predictor.open_video
    with DecoderPool(time_limit=60) as pool:
        predictor.open_video = pool.open
        try:
            there = timeline_of(predictor, path, window=0.5, hop=0.25)
        finally:
            predictor.open_video = original
    assert (here.probabilities == there.probabilities).all()


def test_a_bad_file_is_one_error(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        timeline_of(predictor, tmp_path / "bad.mp4")


def segments(
    spans: list[tuple[float, float]], scores: np.ndarray, *, multi_label=False, **rule: float
) -> list[Segment]:
    windows = [Window(start, end, 0, 1) for start, end in spans]
    found = Timeline("v", ["a", "b"], windows, scores, spans[-1][1], multi_label, {})
    return found.segments(**rule)


def test_neighbours_of_one_class_become_a_segment() -> None:
    spans = [(float(s), s + 2.0) for s in range(5)]
    scores = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.45, 0.55], [0.6, 0.4]])
    found = [(s.start, s.end, s.name, s.windows) for s in segments(spans, scores)]
    assert found == [(0, 2.5, "a", 2), (2.5, 4.5, "b", 2), (4.5, 6, "a", 1)]
    assert segments(spans, scores)[0].confidence == pytest.approx(0.8)
    sure = segments(spans, scores, threshold=0.58, min_length=1.2)
    assert [(s.start, s.end, s.name) for s in sure] == [(0, 2.5, "a"), (4.5, 6, "a")]
    both = segments(spans, scores, threshold=0.3, multi_label=True)
    assert {(s.name, s.start, s.end) for s in both} == {
        ("a", 0, 2.5), ("a", 3.5, 6), ("b", 1.5, 6),
    }  # fmt: skip


@pytest.mark.parametrize(
    "minutes", [2, pytest.param(120, marks=pytest.mark.slow)], ids=["short", "two-hours"]
)
def test_memory_does_not_grow_with_the_length(
    minutes: int, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.mp4"
    frames = numbered_frames(25, 32, 32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width = stream.height = 32
        for number in range(minutes * 600):
            frame = av.VideoFrame.from_ndarray(frames[number % 25], format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    asked: list[int] = []
    original = Video.read

    def watched(self: Video, indices: list[int], **size: Any) -> torch.Tensor:
        asked.extend(indices)
        assert len(indices) <= 256
        return original(self, indices, **size)

    monkeypatch.setattr(Video, "read", watched)
    timeline = timeline_of(predictor, path, window=2.0, hop=1.0)
    assert len(timeline.windows) == minutes * 60 - 1
    assert asked == sorted(set(asked)), "every frame is decoded once, in order"


def test_windows_begin_with_the_first_picture_and_end_with_the_last(
    predictor: Predictor, tmp_path: Path
) -> None:
    path = write_timed(tmp_path / "a.mp4", [2 + i / 10 for i in range(41)], last=10)
    found = timeline_of(predictor, path, window=2.0, hop=4.0)
    assert found.duration == pytest.approx(16, abs=2e-3)
    starts = [window.start for window in found.windows]
    assert starts == pytest.approx([2, 6, 10, 14], abs=2e-3)
    assert [(w.first, w.last) for w in found.windows] == [(0, 20), (40, 41), (40, 41), (40, 41)]


def test_no_segment_claims_the_seconds_between_windows() -> None:
    spans = [(0.0, 1.0), (3.0, 4.0), (6.0, 7.0), (6.5, 7.5)]
    scores = np.array([[0.9, 0.1]] * 4)
    found = [(s.start, s.end, s.windows) for s in segments(spans, scores)]
    assert found == [(0, 1, 1), (3, 4, 1), (6, 7.5, 2)]
    touching = [(float(s), s + 2.0) for s in (0, 2, 4)]
    (only,) = segments(touching, scores[:3])
    assert (only.start, only.end, only.windows) == (0, 6, 3)
