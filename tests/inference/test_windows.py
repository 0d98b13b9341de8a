"""Windows over a video: where they lie, and that streaming gives the frames it says."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from tests.videos import read_number, write_video
from videonl.errors import VideoNLError
from videonl.inference import Windows, stream_windows
from videonl.video import Preprocessing, Video, open_video


def test_starts_cover_the_whole_video() -> None:
    windows = Windows(window=32, stride=16, frames=8)
    assert windows.starts(64) == [0, 16, 32]
    assert windows.starts(70) == [0, 16, 32, 38], "the last one ends with the video"
    assert windows.starts(32) == [0]
    assert windows.starts(5) == [0]


def test_frames_are_spread_evenly_and_the_last_is_repeated() -> None:
    windows = Windows(window=32, stride=16, frames=8)
    assert windows.indices(16, 100) == [16, 20, 24, 28, 32, 36, 40, 44]
    assert windows.indices(0, 10) == [0, 4, 8, 9, 9, 9, 9, 9]
    assert Windows(window=5, stride=5, frames=5).indices(5, 100) == [5, 6, 7, 8, 9]


def test_seconds_end_where_the_next_frame_begins() -> None:
    windows = Windows(window=4, stride=2, frames=2)
    times = np.array([0.0, 0.1, 0.2, 0.5, 0.6, 0.7])
    seconds = windows.seconds([0, 2], times, end=0.8)
    assert seconds == pytest.approx(np.array([[0, 0.6], [0.2, 0.8]]))
    assert windows.seconds([0], times[:2], end=0.2) == pytest.approx(np.array([[0, 0.2]]))


@pytest.mark.parametrize("values", [(0, 1, 1), (4, 0, 1), (4, 1, 5)])
def test_impossible_windows(values: tuple[int, int, int]) -> None:
    with pytest.raises(VideoNLError, match="shorter than its frames"):
        Windows(window=values[0], stride=values[1], frames=values[2])


@pytest.mark.parametrize("shape", [(8, 4, 4), (8, 3, 8), (6, 13, 2), (200, 1, 3)])
def test_a_stream_gives_the_frames_of_every_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int, int]
) -> None:
    windows = Windows(*shape)
    path = write_video(tmp_path / "v.mp4", 50)
    monkeypatch.setattr("videonl.inference.windows.BLOCK", 7)
    asked: list[int] = []
    original = Video.read

    def read(self: Video, indices: list[int], **size: Any) -> torch.Tensor:
        asked.extend(indices)
        return original(self, indices, **size)

    monkeypatch.setattr(Video, "read", read)
    with open_video(path) as video:
        shown = Preprocessing(windows.frames, 1, short_side=64, crop=64)
        stream = stream_windows(video, windows, track=np.arange(50), preprocessing=shown)
        found = list(stream)
    starts = windows.starts(50)
    assert len(found) == len(starts)
    for start, (frames, damaged) in zip(starts, found, strict=True):
        assert not damaged
        numbers = [read_number(frame.numpy()) for frame in frames]
        assert numbers == windows.indices(start, 50)
    assert len(asked) == len(set(asked)), "no frame is decoded for the result twice"


def test_a_part_of_a_file_whose_frames_are_found_by_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "v.avi", 50)
    monkeypatch.setattr("videonl.inference.windows.BLOCK", 7)
    monkeypatch.setattr("videonl.video.decoding.sequential_decoder.KEEP_BYTES", 0)
    opened: list[object] = []
    original = av.open

    def counting(*arguments: Any, **options: Any) -> Any:
        opened.append(arguments)
        return original(*arguments, **options)

    monkeypatch.setattr("av.open", counting)
    windows = Windows(8, 4, 4)
    with open_video(f"{path}#t=0.8,1.8") as video:
        assert (video.exact_by, video.num_frames) == ("sequential", 25)
        shown = Preprocessing(windows.frames, 1, short_side=64, crop=64)
        stream = stream_windows(video, windows, track=np.arange(25), preprocessing=shown)
        for start, (frames, _) in zip(windows.starts(25), stream, strict=True):
            numbers = [read_number(frame.numpy()) for frame in frames]
            assert numbers == [20 + n for n in windows.indices(start, 25)]
        assert len(opened) == 3, "opened, decoded once to count, once to read"
        assert read_number(video.read([1])[0].numpy()) == 21
