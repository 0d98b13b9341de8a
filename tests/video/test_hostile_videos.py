"""Files and names that try to make the reader do something else than read one video file."""

import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from tests.videos import numbered_frames, read_number, sequential_decode, write_video
from videonl.data import Record, VideoDataset
from videonl.errors import VideoError
from videonl.video import open_video


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", 30, options={"g": "10"})


@pytest.mark.parametrize(
    "name",
    [
        "-i.mp4",
        "-0kVxoFuMGQ_000622_000632.mp4",
        "concat:clip.mp4|clip.mp4",
        "file:clip.mp4",
        "http:",
        "pipe:0",
        "a b\t'quote\".mp4",
        "100%d.mp4",
        "frame%03d.png.mp4",
        "名前.mp4",
        "no_extension",
        "glob*.mp4",
    ],
)
def test_strange_names_are_just_names(
    name: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(clip, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (name, tmp_path / name):
        with open_video(path) as video:
            assert read_number(video.read([7])[0].numpy()) == 7


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:9/a.mp4",
        "concat:clip.mp4|clip.mp4",
        "file:clip.mp4",
        "subfile,,start,0,end,9,,:clip.mp4",
        "pipe:0",
        "testsrc",
        "",
    ],
)
def test_addresses_and_protocols_are_not_files(
    address: str, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clip.parent)
    with pytest.raises(VideoError, match="No such file"):
        open_video(address)


def test_addresses_get_a_hint() -> None:
    with pytest.raises(VideoError, match="download it first"):
        open_video("https://example.org/a.mp4")


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{clip}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {clip}\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period>'
    "<AdaptationSet><Representation><BaseURL>{clip}</BaseURL></Representation>"
    "</AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "text": "just some text, called .mp4 by somebody\n" * 40,
    "html": "<html><body>404 not found</body></html>",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("extension", ["mp4", "m3u8", "avi"])
def test_playlists_and_text_are_no_videos(kind: str, extension: str, clip: Path) -> None:
    path = clip.with_name(f"{kind}.{extension}")
    path.write_text(PLAYLISTS[kind].format(clip=clip))
    with pytest.raises(VideoError, match="not a readable video file"):
        open_video(path)


def test_only_regular_files(tmp_path: Path, clip: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    link = tmp_path / "link.mp4"
    link.symlink_to(clip)
    (tmp_path / "empty.mp4").touch()
    for path, words in (
        (pipe, "not a regular file"),
        ("/dev/zero", "not a regular file"),
        (tmp_path, "is a folder"),
        (tmp_path / "empty.mp4", "empty"),
        (tmp_path / "absent.mp4", "No such file"),
        ("a\0b.mp4", "is not a file name"),
        ("a\ud800b.mp4", "is not a file name"),
    ):
        with pytest.raises(VideoError, match=words):
            open_video(path)
    with open_video(link) as video:
        assert video.num_frames == 30


def test_truncated_files_give_the_frames_that_are_there(tmp_path: Path) -> None:
    frames = numbered_frames(60)  # with noise, so that the first packet is not most of the file
    frames[:, 32:] = np.random.default_rng(0).integers(0, 255, (60, 32, 64, 3), np.uint8)
    for extension, options in (("mp4", {"movflags": "faststart"}), ("mkv", {}), ("avi", {})):
        codec = "mpeg4" if extension == "avi" else "libx264"
        path = write_video(
            tmp_path / f"whole.{extension}", frames, codec=codec, container_options=options
        )
        truth = sequential_decode(path)
        data = path.read_bytes()
        cut = path.with_stem("cut")
        cut.write_bytes(data[: len(data) * 6 // 10])
        with open_video(cut) as video:
            assert 5 < video.num_frames < 60, extension
            readable = video.read(range(video.num_frames - 4)).numpy()
        for got, want in zip(readable, truth, strict=False):
            np.testing.assert_array_equal(got, want)


def test_damage_in_the_middle_is_an_error_or_exact(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 60, options={"g": "10", "bf": "2"})
    truth = sequential_decode(path)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
    victim = packets[25]
    data[victim.pos : victim.pos + 4] = b"\xff\xff\xff\xff"  # the length of its first NAL unit
    path.write_bytes(data)
    with open_video(path) as video:
        assert video.num_frames == 60
        np.testing.assert_array_equal(video.read([55])[0].numpy(), truth[55])
        np.testing.assert_array_equal(video.read([3])[0].numpy(), truth[3])
        with pytest.raises(VideoError, match="damaged"):
            video.read(range(20, 30))
        # and the video is still usable
        np.testing.assert_array_equal(video.read([42])[0].numpy(), truth[42])


def test_edit_list_hides_frames(tmp_path: Path) -> None:
    """A clip cut without re-encoding: the frames before the cut are in the file, but not shown."""
    source = write_video(tmp_path / "source.mp4", 40, options={"g": "20", "bf": "2"})
    path = tmp_path / "cut.mp4"
    with (
        av.open(str(source)) as reader,
        av.open(
            str(path), "w", options={"avoid_negative_ts": "disabled", "use_editlist": "1"}
        ) as writer,
    ):
        old = reader.streams.video[0]
        new = writer.add_stream_from_template(old)
        ticks = int(1 / (25 * old.time_base))
        for packet in reader.demux(old):
            if packet.size:
                packet.pts -= 7 * ticks
                packet.dts -= 7 * ticks
                packet.stream = new
                writer.mux(packet)
    truth = sequential_decode(path)
    assert len(truth) == 33
    with open_video(path) as video:
        assert video.num_frames == 33
        assert video.exact_by == "packets"
        for index in (0, 1, 12, 13, 14, 32):
            np.testing.assert_array_equal(video.read([index])[0].numpy(), truth[index])
        assert video.times([0, 25]).tolist() == [0.0, 1.0]


def test_size_change_on_the_way(tmp_path: Path) -> None:
    """Two streams of different size in one: every frame comes in the size of the first."""
    one = write_video(tmp_path / "1.ts", numbered_frames(10, 64, 64), codec="mpeg2video")
    two = write_video(tmp_path / "2.ts", numbered_frames(10, 96, 128), codec="mpeg2video")
    path = tmp_path / "both.ts"
    path.write_bytes(one.read_bytes() + two.read_bytes())
    with open_video(path) as video:
        assert video.num_frames == len(sequential_decode(path)) > 12
        frames = video.read([0, video.num_frames - 1])
    assert frames.shape == (2, 64, 64, 3)


def test_times_beyond_all_measure(tmp_path: Path) -> None:
    """Nobody counts ticks through the years that a damaged header claims."""
    path = write_video(tmp_path / "a.mkv", 12, options={"bf": "0"}, times=[*range(11), 10**7])
    records = [Record(str(path), (0,))]
    shape = {"frames": 4, "stride": 1, "short_side": 32, "crop": 32, "views": (1, 1)}
    by_frame = VideoDataset(records, preprocessing={**shape, "fps": None})[0]
    by_time = VideoDataset(records, preprocessing={**shape, "fps": 30.0})[0]
    assert by_frame["video"].shape == (1, 4, 32, 32, 3)
    assert "a.mkv: the times of its 12 frames reach to 4e+05 seconds" in by_time["error"]


def test_arguments_are_checked(clip: Path) -> None:
    with open_video(clip) as video:
        for indices, words in (([30], "no frame 30"), ([-1], "no frame -1"), ([], "no frame")):
            with pytest.raises(VideoError, match=words):
                video.read(indices)
        with pytest.raises(VideoError, match="short_side"):
            video.read([0], short_side=0)
    with pytest.raises(VideoError, match="decoder='torchcodec' is unknown"):
        open_video(clip, decoder="torchcodec")  # type: ignore[arg-type]


def test_long_and_thin_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "thin.mkv", np.zeros((2, 2, 4000, 3), np.uint8), codec="ffv1")
    with open_video(path) as video:
        assert video.read([1]).shape == (1, 2, 4000, 3)
        with pytest.raises(VideoError, match="too long and thin"):
            video.read([1], short_side=320)
