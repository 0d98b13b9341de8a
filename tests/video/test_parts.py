"""A part of a video is exactly the frames that appear between two seconds."""

from pathlib import Path

import numpy as np
import pytest

from tests.videos import numbered_frames, sequential_decode, write_timed, write_video
from videonl.errors import VideoError
from videonl.shares import counted
from videonl.video import Preprocessing, open_video, read_views


@pytest.mark.parametrize("decoder", ["pyav", "auto"])
@pytest.mark.parametrize("kind", ["a.mp4", "a.mkv", "a.avi"])
def test_the_frames_between(kind: str, decoder: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / kind, numbered_frames(60))
    whole = sequential_decode(path)
    with open_video(path) as video:
        times = video.times()
    for start, end in ((0.0, 1.0), (0.5, 1.04), (1.0, None), (times[7], times[9]), (0.51, 99.0)):
        name = f"{path}#t={start}" + ("" if end is None else f",{end}")
        inside = [
            i for i, t in enumerate(times) if t >= start - 2e-3 and (end is None or t < end - 2e-3)
        ]
        with open_video(name, decoder=decoder) as part:  # type: ignore[arg-type]
            assert part.num_frames == len(part) == len(inside)
            np.testing.assert_array_equal(part.times(), times[inside])
            wanted = [0, part.num_frames - 1, part.num_frames // 2]
            for frame, index in zip(part.read_array(wanted), wanted, strict=True):
                np.testing.assert_array_equal(frame, whole[inside[index]])
            assert part.end >= part.times()[-1]
            words = f"no frame .* has {counted(len(inside), 'frame')}"
            with pytest.raises(VideoError, match=words):
                part.read([len(inside)])


def test_short_and_wrong_parts(tmp_path: Path) -> None:
    path = write_timed(tmp_path / "a.mp4", [0.0, 1.0, 2.0], last=1.0)
    with open_video(f"{path}#t=1.2,1.4") as part:
        assert (part.num_frames, part.times().tolist(), part.end) == (1, [1.0], 2.0)
        shown = Preprocessing(frames=2, stride=1, short_side=32, crop=32, views=(1, 1))
        assert read_views(part, shown).seconds == [[1.0, 1.0]]
    with pytest.raises(
        VideoError, match="lies outside of the video, which shows pictures from 0 to 3"
    ):
        open_video(f"{path}#t=3,4")
    for empty in ("2,1", "1,1"):
        with pytest.raises(VideoError, match="is empty; its end must lie behind its start"):
            open_video(f"{path}#t={empty}")
    with pytest.raises(VideoError, match="No such file"):
        open_video(tmp_path / "absent.mp4#t=3,4")
    named = tmp_path / "b.mp4#t=0,1"
    named.write_bytes(path.read_bytes())
    with open_video(named) as video:
        assert video.num_frames == 3


def test_a_pointer_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(VideoError, match="a Git LFS pointer, not the file; run git lfs pull"):
        open_video(tmp_path / "a.mp4")
