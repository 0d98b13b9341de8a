"""Memory and files stay flat, however many clips one process reads."""

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.videos import write_video
from videonl.errors import VideoError
from videonl.video import open_video

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads /proc, which only Linux has"
)


def resident_mb() -> float:
    return (
        int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        * os.sysconf("SC_PAGE_SIZE")
        / 1e6
    )


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    noise = np.random.default_rng(0).integers(0, 255, (40, 120, 160, 3), np.uint8)
    return [
        write_video(folder / "a.mp4", noise, options={"preset": "ultrafast", "bf": "2"}),
        write_video(folder / "b.avi", noise, codec="mpeg4"),
        write_video(folder / "c.webm", noise, codec="libvpx", options={"cpu-used": "8"}),
    ]


def read(path: Path, generator: random.Random, decoder: str) -> None:
    with open_video(path, decoder=decoder) as video:  # type: ignore[arg-type]
        start = generator.randrange(video.num_frames - 15)
        video.read(range(start, start + 16, 2), short_side=generator.randint(96, 160))


@pytest.mark.parametrize(
    ("decoder", "count", "warm_up"),
    [
        ("auto", 60, 30),
        pytest.param("auto", 2000, 200, marks=pytest.mark.slow),
        pytest.param("decord", 2000, 200, marks=pytest.mark.slow),
    ],
)
def test_memory_stays_flat(clips: list[Path], decoder: str, count: int, warm_up: int) -> None:
    if decoder == "decord":
        pytest.importorskip("decord")
        clips = clips[:1]
    generator = random.Random(0)
    for i in range(warm_up):
        read(clips[i % len(clips)], generator, decoder)
    before, files = resident_mb(), open_files()
    for i in range(count):
        read(clips[i % len(clips)], generator, decoder)
    assert resident_mb() - before < 50
    assert open_files() == files


def test_failures_leave_no_open_files(clips: list[Path], tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    before = open_files()
    for _ in range(20):
        with pytest.raises(VideoError):
            open_video(text)
        with pytest.raises(VideoError):
            open_video(clips[1], decoder="decord")
    assert open_files() == before
