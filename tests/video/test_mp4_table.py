"""The table read from an MP4's header is the one its packets give, or there is none."""

import struct
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from tests.marks import mostly_slow
from tests.odd_videos import write_odd
from tests.videos import sequential_decode, write_video
from videonl.errors import VideoError
from videonl.video import open_video

GOP = {"g": "12", "sc_threshold": "0"}
ORDINARY = {
    "b_frames": {"options": {**GOP, "bf": "3"}},
    "no_b_frames": {"options": {**GOP, "bf": "0"}},
    "variable": {"options": GOP, "times": [i + i * i // 40 for i in range(50)]},
    "late": {"options": {**GOP, "bf": "2"}, "times": range(50, 100)},
    "rotated": {"options": GOP, "rotation": 90},
    "header_first": {"options": GOP, "container_options": {"movflags": "faststart"}},
    "mov": {"options": {**GOP, "bf": "2"}, "container_format": "mov"},
    "no_edit": {"options": {**GOP, "bf": "2"}, "container_options": {"use_editlist": "0"}},
}
ODD = {
    "fragmented": {"options": GOP, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "open_gop": {"options": {"x264-params": "open-gop=1:keyint=12:bframes=3"}},
    "negative_offsets": {
        "options": {**GOP, "bf": "2"},
        "container_options": {"movflags": "negative_cts_offsets"},
    },
    "mpeg4": {"codec": "mpeg4"},
}


def exact_by(path: Path) -> str:
    """How the frames of a file are found; all of them, and their times, are those of a decode."""
    truth = sequential_decode(path)
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        seconds = [float(frame.pts * stream.time_base) for frame in container.decode(stream)]
    with open_video(path) as video:
        found = video.exact_by
        assert video.num_frames == len(truth)
        for index in reversed(range(len(truth))):
            np.testing.assert_array_equal(video.read_array([index])[0], truth[index], str(index))
        np.testing.assert_allclose(video.times(), seconds, atol=1e-9)
        assert video.exact_by == found, "what was told was not true"
    return found


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_files(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 50, **ORDINARY[name])  # type: ignore[arg-type]
    assert exact_by(path) == "header"


@pytest.mark.parametrize("name", ODD)
def test_other_files_are_read_by_their_packets(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 50, **ODD[name])  # type: ignore[arg-type]
    assert exact_by(path) == ("sequential" if name == "mpeg4" else "packets")


@pytest.mark.parametrize(
    "name", ["ordinary.mp4", "variable_rate.mp4", "unordered.mov", "turned_270.mov"]
)
def test_files_of_strangers(name: str, tmp_path: Path) -> None:
    assert exact_by(write_odd(name, tmp_path)) == "header"


def decoded(path: Path) -> list[np.ndarray]:
    """All frames of a file that may be damaged: up to where decoding stops."""
    frames: list[np.ndarray] = []
    with suppress(av.FFmpegError):
        sequential_decode(path, frames)
    return frames


def agrees(path: Path) -> bool:
    """Whether a file can be read; its frames and their number must be those of a full decode."""
    try:
        with open_video(path) as video:
            count = video.num_frames
            wanted = sorted({0, count // 2, min(25, count - 1), count - 1})
            frames = video.read_array(wanted)
            count = video.num_frames
    except VideoError:
        return False
    truth = decoded(path)
    assert count == len(truth)
    for index, frame in zip(wanted, frames, strict=True):
        # Upright, or turned and mirrored, where the damaged header says so.
        sides = (truth[index], truth[index][:, ::-1])
        turned = [np.rot90(side, quarter) for side in sides for quarter in range(4)]
        assert any(np.array_equal(frame, each) for each in turned), index
    return True


@pytest.mark.parametrize("count", mostly_slow([20, 1500], quick=[20]))
def test_damaged_headers_end_in_frames_or_one_error(count: int, tmp_path: Path) -> None:
    """Any byte of the header may be wrong: the frames of a full decode, or a VideoError."""
    path = write_video(tmp_path / "a.mp4", 40, options={**GOP, "bf": "2"})
    whole = path.read_bytes()
    start = whole.index(b"moov")
    generator = np.random.default_rng(0)
    read = 0
    for _ in range(count):
        data = bytearray(whole)
        place = int(generator.integers(start, len(whole)))
        data[place] = int(generator.integers(256))
        path.write_bytes(data)
        try:
            read += agrees(path)
        except AssertionError as error:
            raise AssertionError(
                f"byte {place} of {len(whole)} = {data[place]}: {error}"
            ) from error
    assert read > count // 3


@pytest.mark.parametrize("box", ["stsz", "stco", "stsc", "stss", "ctts", "stts"])
@pytest.mark.parametrize("bf", mostly_slow(["0", "2"], quick=["2"]))
def test_every_damaged_table(box: str, bf: str, tmp_path: Path) -> None:
    """Numbers of every table of samples are changed a little, one at a time."""
    path = write_video(tmp_path / "a.mp4", 40, options={**GOP, "bf": bf})
    whole = path.read_bytes()
    if (start := whole.find(box.encode())) < 0:
        assert (box, bf) == ("ctts", "0")
        return
    (size,) = struct.unpack_from(">I", whole, start - 4)
    read = 0
    for place in range(start + 15, start + size - 4, max(4, (size - 16) // 40 * 4)):
        data = bytearray(whole)
        data[place] = (data[place] + 1 + place % 3) % 256
        path.write_bytes(data)
        read += agrees(path)
    assert read or box in ("stsc", "stco")


def test_times_in_the_wrong_place(tmp_path: Path) -> None:
    """Two offsets changed places: no time is missing, and the decoder's order counts."""
    path = write_video(tmp_path / "a.mp4", 40, options={**GOP, "bf": "2"})
    truth = sequential_decode(path)
    data = bytearray(path.read_bytes())
    entry = data.index(b"ctts") + 12 + 8 * 3
    (offset,) = struct.unpack_from(">I", data, entry + 4)
    data[entry + 4 : entry + 8] = struct.pack(">I", offset + 4 * 512)
    path.write_bytes(data)
    assert agrees(path)
    with open_video(path) as video:
        assert video.num_frames == 40
        np.testing.assert_array_equal(video.read_array([30])[0], truth[30])


@pytest.mark.parametrize(
    ("change", "edit"),
    mostly_slow(
        [(c, e) for c in ("name", "count") for e in "01"], quick=[("name", "0"), ("count", "1")]
    ),
)
def test_lost_offsets(change: str, edit: str, tmp_path: Path) -> None:
    """Without its offsets a stream with B-frames looks like one that is shown as it is decoded."""
    path = write_video(
        tmp_path / "a.mp4",
        40,
        options={**GOP, "bf": "2", "b_strategy": "0"},
        container_options={"use_editlist": edit},
    )
    whole = path.read_bytes()
    place = whole.index(b"ctts")
    data = bytearray(whole)
    if change == "name":
        data[place + 1] ^= 0x40
    else:
        data[place + 8 : place + 12] = bytes(4)
    path.write_bytes(data)
    truth = decoded(path)
    assert len(truth) >= 38
    for index in range(0, 38, 3):
        with open_video(path) as video:
            assert video.exact_by != "header"
            np.testing.assert_array_equal(video.read_array([index])[0], truth[index], str(index))
            assert video.num_frames == len(truth)


def test_a_gap_in_the_data_is_no_ordinary_file(tmp_path: Path) -> None:
    """Nothing confirms the sizes: the packets are asked, which read the same frames."""
    path = write_video(tmp_path / "a.mp4", 40, options={**GOP, "bf": "2"})
    truth = sequential_decode(path)
    data = path.read_bytes()
    start = data.index(b"mdat") - 4
    (size,) = struct.unpack_from(">I", data, start)
    padded = struct.pack(">I", size + 8) + data[start + 4 : start + size] + bytes(8)
    path.write_bytes(data[:start] + padded + data[start + size :])
    with open_video(path) as video:
        assert video.exact_by == "packets"
        np.testing.assert_array_equal(video.read_array([17])[0], truth[17])


def test_frames_larger_than_the_header_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size in the stream counts, not the one in the header; it has a limit, too."""
    path = write_video(tmp_path / "a.mp4", 12, options=GOP)
    data = bytearray(path.read_bytes())
    entry = data.index(b"avc1", data.index(b"stsd"))
    data[entry + 28 : entry + 32] = struct.pack(">HH", 32, 16)
    path.write_bytes(data)
    with open_video(path) as video:
        assert (video.height, video.width) == (64, 64)
    monkeypatch.setattr("videonl.video.decoding.container.MAX_PIXELS", 2000)
    with open_video(path) as video, pytest.raises(VideoError, match=r"damaged|cannot"):
        video.read([3])
