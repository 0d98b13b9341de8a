"""Times are seconds as a player shows them, on every road to the frames."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.videos import write_timed, write_video
from videonl.cli.main import main
from videonl.video import DecoderPool, Preprocessing, open_video, read_views, timeline

TENTHS = [i / 10 for i in range(41)]


@pytest.mark.parametrize("count", [40, 41, 42, 43])  # the last one with B-frames behind it or not
@pytest.mark.parametrize("kind", ["a.mp4", "a.mkv", "a.mov"])
def test_a_last_picture_that_stands_for_long(kind: str, count: int, tmp_path: Path) -> None:
    path = write_timed(tmp_path / kind, TENTHS[:1] + [i / 10 for i in range(1, count)], last=10)
    with open_video(path) as video:
        assert video.times()[-1] == pytest.approx((count - 1) / 10, abs=2e-3)
        assert video.end == pytest.approx((count - 1) / 10 + 10, abs=2e-3)
        ticks = timeline(video.times(), 10, end=video.end)
    assert len(ticks) == count - 1 + 100
    assert (ticks[count - 1 :] == count - 1).all()


@pytest.mark.parametrize("sound", [0.0, 6.1])
@pytest.mark.parametrize("kind", ["a.mp4", "a.mkv", "a.mov"])
def test_pictures_that_begin_late(kind: str, sound: float, tmp_path: Path) -> None:
    path = write_timed(tmp_path / kind, [2 + t for t in TENTHS], sound=sound)
    with open_video(path) as video:
        np.testing.assert_allclose(video.times(), np.array(TENTHS) + 2, atol=2e-3)
        assert video.times([1])[0] == pytest.approx(2.1, abs=2e-3)
        assert video.end == pytest.approx(6.1, abs=2e-3)
        assert video.fps == pytest.approx(10, rel=1e-3)
        # A clip begins with the first picture, not with the seconds that have none.
        views = read_views(video, Preprocessing(4, 1, 32, 32, fps=10.0, views=(2, 1)))
    assert views.indices[0] == [0, 1, 2, 3]
    assert views.indices[-1] == [37, 38, 39, 40]
    assert views.seconds[0][0] == pytest.approx(2.0, abs=2e-3)


def test_a_broadcast_counts_from_the_first_sample_of_any_stream(tmp_path: Path) -> None:
    alone = write_timed(tmp_path / "a.ts", [5 + t for t in TENTHS])
    both = write_timed(tmp_path / "b.ts", [2 + t for t in TENTHS], sound=6)
    with open_video(alone) as video:
        assert video.times()[0] == pytest.approx(0.0, abs=2e-3)
    with open_video(both) as video:
        assert video.times()[0] == pytest.approx(2.0, abs=0.05)


def test_the_clock_is_the_same_in_another_process(tmp_path: Path) -> None:
    path = write_timed(tmp_path / "a.mp4", [2 + t for t in TENTHS], last=3)
    with open_video(path) as here, DecoderPool() as pool, pool.open(path) as there:
        assert (here.times() == there.times()).all()
        assert here.end == there.end == pytest.approx(9.0, abs=2e-3)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.avi", "mpeg4")])
def test_ordinary_files_begin_at_zero(name: str, codec: str, tmp_path: Path) -> None:
    with open_video(write_video(tmp_path / name, 30, codec=codec)) as video:
        np.testing.assert_allclose(video.times(), np.arange(30) / 25, atol=1e-6)
        assert video.end == pytest.approx(30 / 25)


@pytest.mark.parametrize("start", [0.0, 2.0])
def test_sampling_by_time_counts_from_the_first_frame(start: float) -> None:
    def clips(times: Sequence[float], end: float | None) -> list[list[int]]:
        shape = Preprocessing(4, 2, 32, 32, fps=5.0, views=(3, 1))
        return shape.indices(len(times), times=times, end=end)

    plain = [i / 10 for i in range(40)]
    assert clips([start + t for t in plain], None) == clips(plain, 4.0)
    assert clips([start + t for t in plain], start + 14)[-1] == [39] * 4


@pytest.mark.parametrize("kind", ["a.mp4", "a.mkv"])
def test_a_prepared_copy_keeps_the_last_picture_as_long(kind: str, tmp_path: Path) -> None:
    (tmp_path / "in" / "train" / "c").mkdir(parents=True)
    write_timed(tmp_path / "in" / "train" / "c" / kind, [2 + t for t in TENTHS], last=10)
    assert main(["prepare", str(tmp_path / "in"), str(tmp_path / "out"), "--workers", "1"]) == 0
    (copy,) = (tmp_path / "out").rglob("*.mp4")
    with open_video(copy) as video:
        assert video.times()[[0, -1]] == pytest.approx([2.0, 6.0], abs=2e-3)
        assert video.end == pytest.approx(16.0, abs=2e-3)
        assert video.exact_by == "header"
