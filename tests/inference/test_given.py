"""What users hold: paths, bytes, file objects, frames in memory; the same answer from each."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.inference.networks import write_checkpoint
from tests.videos import numbered_frames, sequential_decode, write_video
from videonl import Frames, Predictor
from videonl.attention import attend
from videonl.errors import VideoError, VideoNLError
from videonl.inference import Failure, FeatureExtractor, Prediction, Windows, timeline_of
from videonl.video import DecoderPool

RATE = 30  # not that of other tests: a default would show


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("given")
    return Predictor.from_checkpoint(write_checkpoint(folder, name="tiny_i3d_nl1"), device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the size that the network sees: nothing is scaled, so equal frames are equal numbers."""
    frames = numbered_frames(40, height=24, width=32)
    return write_video(tmp_path_factory.mktemp("given") / "a clip.mp4", frames, fps=RATE)


@pytest.fixture(scope="module")
def frames(clip: Path) -> np.ndarray:
    return np.stack(sequential_decode(clip))


def test_the_same_numbers_from_whatever_holds_the_video(
    predictor: Predictor, clip: Path, frames: np.ndarray
) -> None:
    stored = {
        "str": (str(clip), str(clip)),
        "bytes": (clip.read_bytes(), "bytes"),
        "memory": (memoryview(clip.read_bytes()), "bytes"),
        "io": (io.BytesIO(clip.read_bytes()), "file object"),
    }
    held = {
        "array": frames,
        "tensor": torch.from_numpy(frames),
        "strided": np.asfortranarray(frames),
        "iterator": iter(frames),
        "list": [torch.from_numpy(frame) for frame in frames],
    }
    truth = predictor.predict(clip, views=(3, 3))
    for name, (given, shown) in stored.items():
        found = predictor.predict(given, views=(3, 3))
        assert (found.path, found.result()["classes"]) == (shown, truth.result()["classes"]), name
        assert found.views == truth.views, name
    for name, given in held.items():
        found = predictor.predict(given, fps=RATE, views=(3, 3))
        assert found.result()["classes"] == truth.result()["classes"], name
        assert [c.frames for c in found.views] == [c.frames for c in truth.views], name
    with DecoderPool() as pool, clip.open("rb") as file:
        predictor.open_video, before = pool.open, predictor.open_video
        try:
            assert predictor.predict(file, views=(3, 3)).classes == truth.classes
        finally:
            predictor.open_video = before
    many = [clip, frames, Frames(iter(frames), fps=RATE, name="mine"), clip.read_bytes()]
    answers = list(predictor.predict_many(many, fps=RATE, views=(3, 3), workers=1))
    assert [answer.path for answer in answers] == [str(clip), "frames", "mine", "bytes"]
    assert all(a.probabilities == truth.probabilities for a in answers if type(a) is Prediction)


def test_features_and_timelines_take_them_too(
    predictor: Predictor, clip: Path, frames: np.ndarray
) -> None:
    extractor = FeatureExtractor(predictor, windows=Windows(window=8, stride=4, frames=4))
    wanted = extractor.extract(clip)
    for given, fps in ((frames, RATE), (clip.read_bytes(), None)):
        found = extractor.extract(given, fps=fps)
        assert np.array_equal(found.values, wanted.values)
        assert found.start == pytest.approx(wanted.start)
        assert found.end == pytest.approx(wanted.end)
        line = timeline_of(predictor, given, fps=fps, window=0.4)
        truth = timeline_of(predictor, clip, window=0.4)
        assert np.array_equal(line.probabilities, truth.probabilities)
        assert line.duration == pytest.approx(truth.duration)


@pytest.mark.slow
def test_attention_takes_them_too(predictor: Predictor, clip: Path, frames: np.ndarray) -> None:
    seen = attend(predictor, frames, fps=RATE, at=(1, 8, 10))
    assert seen.strongest == attend(predictor, clip, at=(1, 8, 10)).strongest


def test_scaled_frames_differ_by_rounding_alone(predictor: Predictor, tmp_path: Path) -> None:
    """A file is scaled from YUV: close; one that holds RGB: the same."""
    picture = numbered_frames(20, height=60, width=86)
    for codec, pixels, apart in (("libx264", "yuv420p", 0.02), ("png", "rgb24", 0.0)):
        path = write_video(tmp_path / f"{codec}.mov", picture, codec=codec, pixel_format=pixels)
        frames = np.stack(sequential_decode(path))
        from_file = predictor.predict(path, top_k=3, views=(2, 3))
        found = predictor.predict(frames, fps=25, top_k=3, views=(2, 3))
        wanted = dict(zip(from_file.classes, from_file.probabilities, strict=True))
        for name, probability in zip(found.classes, found.probabilities, strict=True):
            assert abs(probability - wanted[name]) <= apart


GOOD = np.zeros((8, 24, 32, 3), np.uint8)
WRONG: list[tuple[Any, float | None, str]] = [
    (GOOD, None, "give their frames per second"),
    (GOOD, 0, "fps=0: it must be a number above 0"),
    (GOOD, float("nan"), "fps=nan"),
    (GOOD, "25", "fps='25'"),
    (b"abc", 25.0, "fps=25.0 is only for frames in memory"),
    (Frames(GOOD, fps=25), 30.0, "has its own rate"),
    (GOOD.astype(np.float32), 25, "float32, not uint8 from 0 to 255; multiply by 255"),
    (torch.zeros(8, 24, 32, 3, dtype=torch.bfloat16), 25, "not uint8"),
    (GOOD.astype(np.int64), 25, "the values are int64"),
    (GOOD.transpose(0, 3, 1, 2), 25, "8x3x24x32: those are (T, 3, H, W)"),
    (GOOD.transpose(3, 0, 1, 2), 25, "3x8x24x32: those are (3, T, H, W)"),
    (GOOD[0], 25, "that is one picture"),
    (GOOD[None], 25, "one video at a time"),
    (GOOD[..., :1], 25, "repeat grey three times"),
    (np.zeros((8, 24, 32, 4), np.uint8), 25, "leave transparency out"),
    (GOOD[:0], 25, "there are no frames"),
    (np.frombuffer(b"abc", np.uint8), 25, "give .tobytes()"),
    ([], 25, "there are no frames"),
    ([GOOD[0], GOOD[0, :, :20]], 25, "picture 1 is 24x20x3, the first is 24x32x3"),
    ([GOOD[0], None], 25, "number 1"),
    (["a.mp4", "b.mp4"], 25, "use predict_many"),
    (3, 25, "a int is not a video"),
    (None, None, "a NoneType is not a video"),
    (["a.mp4", "b.mp4"], None, "use predict_many"),
    (io.StringIO("text"), None, "mode 'rb'"),
    (io.BytesIO(), None, "0 bytes"),
    (b"", None, "0 bytes"),
    (b"not a video", None, "bytes: not a readable video"),
]


@pytest.mark.parametrize("call", ["predict", "predict_many"])
def test_what_is_no_video_is_one_sentence(predictor: Predictor, call: str) -> None:
    def many(given: Any, fps: float | None) -> None:
        (failure,) = predictor.predict_many([given], fps=fps)
        assert isinstance(failure, Failure)
        raise VideoError(failure.error)

    one: Callable[..., Any] = lambda given, fps: predictor.predict(given, fps=fps)  # noqa: E731
    for given, fps, words in WRONG:
        if call == "predict_many" and ("own rate" in words or "is only for" in words):
            continue  # one rate for all frames among several videos is no mistake
        if hasattr(given, "seek"):
            given.seek(0)
        with pytest.raises(VideoError) as caught:
            (one if call == "predict" else many)(given, fps)
        assert "\n" not in str(caught.value)
        assert "/proc" not in str(caught.value)
        assert words.removeprefix("bytes: ") in str(caught.value), (words, caught.value)


def test_many_videos_are_not_one(predictor: Predictor, clip: Path) -> None:
    for given in (str(clip), b"bytes", Frames(GOOD, fps=25)):
        with pytest.raises(VideoNLError, match="several videos"):
            list(predictor.predict_many(given))  # type: ignore[arg-type]
