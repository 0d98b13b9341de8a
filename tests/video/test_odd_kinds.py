"""Files of unusual make: the frames of a full decode, or one clear error."""

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from tests.odd_videos import write_odd
from tests.videos import numbered_frames, read_number, sequential_decode, write_video
from videonl.errors import VideoError
from videonl.video import Recipe, encode_file, open_video

GOP = {"g": "8", "sc_threshold": "0"}


def interlaced(folder: Path) -> Path:
    options = {**GOP, "x264-params": "interlaced=1:bframes=2"}
    return write_video(folder / "a.mp4", numbered_frames(24, 64, 64), options=options)


def cropped(folder: Path) -> Path:
    """48x40 is no multiple of a macroblock: the sequence header crops."""
    return write_video(folder / "a.mp4", numbered_frames(24, 40, 56), options=GOP)


def wide_pixels(folder: Path) -> Path:
    options = {**GOP, "x264-params": "sar=16/11"}
    return write_video(folder / "a.mp4", numbered_frames(24), options=options)


def alpha(folder: Path) -> Path:
    return write_video(
        folder / "a.webm",
        numbered_frames(24),
        codec="libvpx-vp9",
        pixel_format="yuva420p",
        options={"g": "8", "cpu-used": "8", "auto-alt-ref": "0"},
    )


def motion_jpeg(folder: Path) -> Path:
    return write_video(folder / "a.avi", 24, codec="mjpeg", pixel_format="yuvj420p")


def animation(folder: Path) -> Path:
    return write_video(folder / "a.gif", 24, codec="gif", pixel_format="rgb8")


def raw_stream(folder: Path) -> Path:
    return write_video(folder / "a.h264", 24, options={"g": "8", "bf": "0"})


def late_start(folder: Path) -> Path:
    return write_video(folder / "a.mp4", 24, options=GOP, times=range(100, 124))


def transport_stream_with_a_gap(folder: Path) -> Path:
    """Two recordings, one after the other: the clock jumps back."""
    whole = write_video(folder / "whole.ts", 24, options={"g": "8", "bf": "0"}).read_bytes()
    path = folder / "a.ts"
    path.write_bytes(whole + whole)
    return path


def two_streams(folder: Path) -> Path:
    """The second one is larger; both decoders must take the same."""
    path = folder / "a.mkv"
    with av.open(str(path), "w") as container:
        streams = []
        for size in (48, 64):
            stream = container.add_stream("libx264", rate=25, options=GOP)
            stream.width = stream.height = size
            stream.pix_fmt = "yuv420p"
            streams.append((stream, numbered_frames(24, size, size)))
        for index in range(24):
            for stream, frames in streams:
                frame = av.VideoFrame.from_ndarray(frames[index], "rgb24")
                frame.pts = index
                container.mux(stream.encode(frame))
        for stream, _ in streams:
            container.mux(stream.encode())
    return path


def sound_first(folder: Path) -> Path:
    """A sound track comes before the video."""
    path = folder / "a.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000, layout="mono")
        stream = container.add_stream("libx264", rate=25, options=GOP)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        samples.sample_rate, samples.pts = 16000, 0
        container.mux(sound.encode(samples))
        for index, array in enumerate(numbered_frames(24)):
            frame = av.VideoFrame.from_ndarray(array, "rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        container.mux(sound.encode())
    return path


KINDS: list[Callable[[Path], Path]] = [
    interlaced,
    cropped,
    wide_pixels,
    alpha,
    motion_jpeg,
    animation,
    raw_stream,
    late_start,
    transport_stream_with_a_gap,
    two_streams,
    sound_first,
]


@pytest.mark.parametrize("write", KINDS, ids=lambda write: write.__name__)
def test_frames_are_those_of_a_full_decode(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path)
    truth = sequential_decode(path)
    with open_video(path) as video:
        assert video.num_frames == len(truth) >= 24
        assert (video.height, video.width) == truth[0].shape[:2]
        wanted = [len(truth) - 1, 5, 13, 5, 0, 12]
        for index, frame in zip(wanted, video.read(wanted).numpy(), strict=True):
            np.testing.assert_array_equal(frame, truth[index], err_msg=f"frame {index}")
        assert (np.diff(video.times()) > 0).all()
        small = video.read([7], short_side=32)[0].numpy()
    assert min(small.shape[:2]) == 32
    assert read_number(small) == 7


@pytest.mark.parametrize("size", [(50, 71), (64, 91), (72, 128)])
@pytest.mark.parametrize("rotation", [0, 90])
def test_odd_target_sizes(size: tuple[int, int], rotation: int, tmp_path: Path) -> None:
    """The longer side is rounded, odd or even, and the picture is the whole one."""
    frames = np.zeros((6, *size, 3), np.uint8)
    frames[:, :, -max(4, size[1] // 8) :] = 255  # a bright right edge
    path = write_video(
        tmp_path / "a.mp4", frames, pixel_format="yuv444p", options={"crf": "5"}, rotation=rotation
    )
    short, long = min(size), max(size)
    with open_video(path) as video:
        got = video.read([3], short_side=33)[0].numpy()
    assert sorted(got.shape[:2]) == [33, (long * 33 + short // 2) // short]
    turned = np.rot90(got, -rotation // 90)
    assert turned[:, -2:].mean() > 230
    assert turned[:, : turned.shape[1] // 2].mean() < 20


@pytest.mark.parametrize("name", ["av1.mp4", "av1.mkv"])
def test_av1_is_sought_again_and_again(name: str, tmp_path: Path) -> None:
    path = write_odd(name, tmp_path)
    truth = sequential_decode(path)
    with open_video(path) as video:
        for index in reversed(range(24)):
            np.testing.assert_array_equal(video.read_array([index])[0], truth[index])
        assert video.exact_by == "packets"


def test_a_prepared_file_says_that_its_range_is_high(tmp_path: Path) -> None:
    path = write_odd("high_range.mov", tmp_path)
    encode_file(path, tmp_path / "copy.mp4", Recipe(short_side=64))
    for file in (path, tmp_path / "copy.mp4"):
        with open_video(file) as video:
            assert video.high_range == "HLG"


MATRICES = {  # a, b, c, d of the header: a point (x, y) is shown at (ax + cy, bx + dy)
    "mirrored": ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),
    "upside down in a mirror": ((1, 0, 0, -1), lambda picture: picture[::-1]),
    "exchanged": ((0, 1, 1, 0), lambda picture: picture.swapaxes(0, 1)),
    "exchanged and turned": ((0, -1, -1, 0), lambda picture: np.rot90(picture, 2).swapaxes(0, 1)),
    "quarter": ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),
    "oblique": ((0.7, 0.7, -0.7, 0.7), lambda picture: picture),
}


@pytest.mark.parametrize("kind", MATRICES)
def test_mirrored_and_turned_pictures_stand_upright(kind: str, tmp_path: Path) -> None:
    """As FFmpeg's player shows them; decord, which knows quarter turns alone, refuses the rest."""
    matrix, stand = MATRICES[kind]
    path = write_video(tmp_path / "a.mp4", numbered_frames(12, 64, 96), options=GOP)
    truth = sequential_decode(path)
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    a, b, c, d = (round(value * 65536) for value in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    with open_video(path) as video:
        np.testing.assert_array_equal(video.read_array([7])[0], stand(truth[7]))
        assert min(video.read_array([7], short_side=32).shape[1:3]) == 32
    if kind == "quarter":
        open_video(path, decoder="decord").close()
    else:
        with pytest.raises(VideoError, match=r"mirrored|turned by 45"):
            open_video(path, decoder="decord")
    if kind != "oblique":
        encode_file(path, tmp_path / "copy.mp4", Recipe(short_side=64, quality=5))
        with open_video(tmp_path / "copy.mp4") as video:
            picture = video.read_array([7])[0].astype(int)
        assert np.abs(picture - stand(truth[7])).mean() < 6


def test_decord_leaves_interlaced_frames_alone(tmp_path: Path) -> None:
    """It takes the colours of an interlaced frame from other rows."""
    path = write_video(
        tmp_path / "a.mp4", 12, options={**GOP, "x264-params": "tff=1:interlaced=1:bframes=0"}
    )
    with pytest.raises(VideoError, match="interlaced"):
        open_video(path, decoder="decord")


@pytest.mark.parametrize("kind", ["apng", "webp_anim", "mjpeg"])
def test_pictures_are_no_videos(kind: str, tmp_path: Path) -> None:
    """Formats that are not read, whatever the file is called: the sentence names those that are."""
    codec, pixels, container = {
        "apng": ("apng", "rgb24", "apng"),
        "webp_anim": ("libwebp_anim", "yuv420p", "webp"),
        "mjpeg": ("mjpeg", "yuvj420p", "mjpeg"),
    }[kind]
    path = write_video(
        tmp_path / "a.mp4", 4, codec=codec, pixel_format=pixels, container_format=container
    )
    with pytest.raises(VideoError, match="none of the formats read, such as MP4"):
        open_video(path)


@pytest.mark.parametrize("with_video", [False, True])
def test_a_cover_picture_is_no_video(with_video: bool, tmp_path: Path) -> None:
    """A cover, even the first stream, is never taken for the video; alone it is an error."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 128
        cover.pix_fmt = "yuvj420p"
        cover.disposition = Disposition.attached_pic
        video = container.add_stream("libx264", rate=25, options=GOP) if with_video else None
        if video is not None:
            video.width = video.height = 64
            video.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.full((128, 128, 3), 90, np.uint8), "rgb24")
        frame.pts = 0
        container.mux([*cover.encode(frame), *cover.encode()])
        if video is not None:
            for index, array in enumerate(numbered_frames(24)):
                frame = av.VideoFrame.from_ndarray(array, "rgb24")
                frame.pts = index
                container.mux(video.encode(frame))
            container.mux(video.encode())
    if video is None:
        with pytest.raises(VideoError, match="has no video stream"):
            open_video(path)
        return
    with open_video(path) as opened:
        assert (opened.num_frames, opened.width) == (24, 64)
        assert read_number(opened.read([9])[0].numpy()) == 9
