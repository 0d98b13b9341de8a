"""Exact frames: every way of reading agrees with a full sequential decode."""

import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.marks import mostly_slow
from tests.odd_videos import ODD, write_odd
from tests.videos import numbered_frames, read_number, sequential_decode, write_video
from videonl.errors import VideoError
from videonl.video import DecoderPool, Video, open_video


@dataclass(frozen=True)
class Kind:
    """A way to write a file, and how its frames must be found."""

    name: str
    extension: str = "mp4"
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)
    exact_by: str = "header"
    decord: bool = True
    count: int = 45
    size: tuple[int, int] = (64, 64)
    rotation: int = 0
    variable: bool = False


GOP = {"g": "12", "sc_threshold": "0"}
KINDS = [
    Kind("h264_b_frames", options={**GOP, "bf": "3"}),
    Kind("h264_pyramid", options={**GOP, "bf": "7", "x264-params": "b-pyramid=normal:ref=5"}),
    Kind("h264_no_b_frames", options={**GOP, "bf": "0"}),
    Kind("h264_one_group", options={"g": "250"}),
    Kind(
        "h264_open_gop",
        options={"x264-params": "open-gop=1:keyint=12:bframes=3"},
        decord=False,
        exact_by="packets",
    ),
    Kind(
        "h264_intra_refresh",
        options={"x264-params": "intra-refresh=1:keyint=12"},
        decord=False,
        exact_by="packets",
    ),
    Kind("h264_mkv", extension="mkv", options={**GOP, "bf": "2"}, exact_by="packets"),
    Kind("h264_mov", extension="mov", options={**GOP, "bf": "2"}),
    Kind("h264_avi", extension="avi", options={**GOP, "bf": "0"}, exact_by="sequential"),
    Kind("h264_ts", extension="ts", options={**GOP, "bf": "2"}, exact_by="sequential"),
    Kind(
        "h264_fragmented",
        exact_by="packets",
        options=GOP,
        container_options={"movflags": "frag_keyframe+empty_moov"},
    ),
    Kind("h264_variable_rate", options=GOP, variable=True),
    Kind("h264_odd_size", pixel_format="yuv444p", options=GOP, decord=False, size=(63, 71)),
    Kind("h264_10_bit", pixel_format="yuv420p10le", options=GOP, decord=False),
    Kind("h264_rotated_90", options=GOP, rotation=90, size=(64, 80)),
    Kind("h264_rotated_odd", options=GOP, rotation=90, size=(48, 80), decord=False),
    Kind("h264_rotated_180", options=GOP, rotation=180, size=(48, 80)),
    Kind("h264_rotated_270", options=GOP, rotation=270, size=(64, 80)),
    Kind(
        "hevc_closed",
        exact_by="packets",
        codec="libx265",
        options={"x265-params": "keyint=12:open-gop=0:log-level=0"},
    ),
    Kind(
        "hevc_open",
        codec="libx265",
        options={"x265-params": "keyint=12:open-gop=1:log-level=0"},
        exact_by="packets",
    ),
    Kind(
        "vp8",
        extension="webm",
        codec="libvpx",
        options={"g": "12", "auto-alt-ref": "1"},
        exact_by="packets",
    ),
    Kind(
        "vp9",
        extension="webm",
        codec="libvpx-vp9",
        options={"g": "12", "cpu-used": "8"},
        exact_by="packets",
    ),
    Kind("mpeg4_avi", extension="avi", codec="mpeg4", options={"bf": "2"}, exact_by="sequential"),
    Kind("mpeg4_mp4", codec="mpeg4", options={"bf": "2"}, exact_by="sequential"),
    Kind("mpeg1", extension="mpg", codec="mpeg1video", exact_by="sequential"),
    Kind("mpeg2_ts", extension="ts", codec="mpeg2video", exact_by="sequential"),
    Kind("h263", extension="3gp", codec="h263", exact_by="sequential", size=(144, 176)),
    Kind(
        "mjpeg_avi", extension="avi", codec="mjpeg", pixel_format="yuvj420p", exact_by="sequential"
    ),
    Kind("mjpeg_mov", extension="mov", codec="mjpeg", pixel_format="yuvj420p", exact_by="packets"),
    Kind("flv", extension="flv", codec="flv1", exact_by="sequential"),
]


def write(kind: Kind, folder: Path) -> Path:
    frames = numbered_frames(kind.count, *kind.size)
    times = [i + i * i // 40 for i in range(kind.count)] if kind.variable else None
    return write_video(
        folder / f"{kind.name}.{kind.extension}",
        frames,
        codec=kind.codec,
        pixel_format=kind.pixel_format,
        options=kind.options,
        times=times,
        rotation=kind.rotation,
        container_options=kind.container_options,
    )


def assert_exact(video: Video, truth: list[np.ndarray], *, rounds: int = 6) -> None:
    """Random sets of frames in random order, with repeats, and the first and last ones."""
    generator = random.Random(0)
    every = range(len(truth))
    asked = [[0], [len(truth) - 1], [0, len(truth) - 1], list(every)[:: max(1, len(truth) // 8)]]
    asked += [generator.choices(every, k=8) for _ in range(rounds)]
    for indices in asked:
        got = video.read(indices).numpy()
        for picture, index in zip(got, indices, strict=True):
            np.testing.assert_array_equal(picture, truth[index], err_msg=f"frame {index}")


TOLD = ("h264_b_frames", "h264_open_gop", "h264_intra_refresh", "h264_mkv", "h264_avi", "h264_ts")
TOLD += ("h264_fragmented", "h264_variable_rate", "h264_odd_size", "h264_10_bit")
TOLD += ("h264_rotated_90", "h264_rotated_odd", "hevc_open", "vp9", "mpeg4_avi", "mpeg1", "flv")
TOLD += ("mjpeg_mov",)


@pytest.mark.parametrize(
    "kind",
    mostly_slow(KINDS, quick=[k for k in KINDS if k.name in TOLD]),
    ids=lambda kind: kind.name,
)
def test_read_equals_sequential_decode(kind: Kind, tmp_path: Path) -> None:
    path = write(kind, tmp_path)
    truth = sequential_decode(path)
    assert len(truth) == kind.count
    with open_video(path) as video:
        assert (video.num_frames, video.exact_by) == (kind.count, kind.exact_by)
        assert (video.height, video.width) == truth[0].shape[:2]
        assert_exact(video, truth)
        small = video.read([3, 1], short_side=32)
        assert min(small.shape[1:3]) == 32
        if not kind.rotation:
            assert [read_number(frame.numpy()) for frame in small] == [3, 1]


DECORD = ("h264_b_frames", "h264_open_gop", "h264_mkv", "h264_fragmented", "h264_variable_rate")
DECORD += ("h264_odd_size", "h264_rotated_90", "h264_avi", "mpeg4_mp4")


@pytest.mark.parametrize(
    "kind",
    mostly_slow(KINDS, quick=[k for k in KINDS if k.name in DECORD]),
    ids=lambda kind: kind.name,
)
def test_decord_is_exact_or_refuses(kind: Kind, tmp_path: Path) -> None:
    pytest.importorskip("decord")
    path = write(kind, tmp_path)
    if kind.codec != "libx264" or kind.exact_by == "sequential" or not kind.decord:
        with pytest.raises(VideoError, match="decord does not read this file exactly"):
            open_video(path, decoder="decord")
        return
    with open_video(path, decoder="decord") as video:
        assert video.decoder == "decord"
        assert_exact(video, sequential_decode(path), rounds=2)


@pytest.mark.parametrize("rotation", [0, 90])
def test_decoders_agree_when_they_scale(rotation: int, tmp_path: Path) -> None:
    pytest.importorskip("decord")
    path = write_video(tmp_path / "a.mp4", numbered_frames(30, 128, 160), rotation=rotation)
    for size in ({"short_side": 60}, {"inside": (60, 90)}):
        with open_video(path) as one, open_video(path, decoder="decord") as two:
            first, second = (v.read([2, 20], **size).numpy().astype(int) for v in (one, two))
        assert first.shape == second.shape
        difference = np.abs(first - second)
        # decord: scaled in RGB; PyAV: in its planes, so colours differ at sharp edges.
        assert difference.mean() < 3
        assert np.percentile(difference, 90) <= 8


@pytest.mark.parametrize("rotation", mostly_slow([0, 90, 180], quick=[0, 90]))
def test_whole_pictures_lie_inside(rotation: int, tmp_path: Path) -> None:
    """As large as they can be, as they are shown; files without a table and sandboxed ones, too."""
    path = write_video(tmp_path / "a.mp4", numbered_frames(6, 64, 128), rotation=rotation)
    plain = write_video(tmp_path / "b.avi", numbered_frames(6, 64, 128), codec="mpeg4")
    sizes = {(24, 60): (24, 48), (60, 24): (12, 24), (30, 32): (16, 32), (1, 1): (1, 1)}
    if rotation == 90:
        sizes = {(24, 60): (24, 12), (60, 24): (48, 24), (30, 32): (30, 15), (1, 1): (1, 1)}
    with open_video(path) as video, DecoderPool() as pool, pool.open(path) as sandboxed:
        for inside, size in sizes.items():
            frames = video.read([4, 1], inside=inside)
            assert tuple(frames.shape) == (2, *size, 3)
            assert torch.equal(sandboxed.read([4, 1], inside=inside), frames)
        if rotation != 90:
            assert torch.equal(video.read([2], inside=(64, 128)), video.read([2]))
        with pytest.raises(VideoError, match="inside must be at least 1 pixel"):
            video.read([0], inside=(0, 9))
        with pytest.raises(VideoError, match="both set the size"):
            video.read([0], inside=(9, 9), short_side=9)
    with open_video(plain) as video:
        assert [read_number(f.numpy()) for f in video.read([4, 1], inside=(99, 64))] == [4, 1]


@pytest.mark.parametrize("name", ODD)
def test_odd_files_have_a_defined_outcome(name: str, tmp_path: Path) -> None:
    path, odd = write_odd(name, tmp_path), ODD[name]
    if isinstance(odd.frames, str):
        with pytest.raises(VideoError, match=odd.frames):
            open_video(path)
        return
    with open_video(path) as video:
        assert video.num_frames == odd.frames
        if odd.damaged:
            with pytest.raises(VideoError, match=odd.damaged):
                video.read(range(0, 50, 7))
            return
        truth = sequential_decode(path)
        assert len(truth) == odd.frames
        assert_exact(video, truth, rounds=2)
