"""``videonl live``: the newest frames, never a queue; sources that end, stall and change."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from tests.cli.test_outputs import file_size_limit
from tests.inference.networks import PREPROCESSING, write_checkpoint
from tests.videos import numbered_frames, read_number, sequential_decode, write_video
from videonl import Predictor
from videonl.cli.main import main
from videonl.errors import VideoError
from videonl.video import Ended, Newest, Preprocessing, open_live, played

SPAN = 7 / 25  # seconds: 4 frames, 2 apart


class FakeClock:
    """Time goes by only where somebody waits or works."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += seconds


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_checkpoint(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def live(*arguments: str) -> int:
    return main(["live", "--checkpoint", "model.safetensors", "--device", "cpu", *arguments])


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def pictures(count: int) -> list[av.VideoFrame]:
    return [av.VideoFrame.from_ndarray(frame, "rgb24") for frame in numbered_frames(count)]


def test_a_network_ten_times_too_slow_sees_the_newest_frames_in_flat_memory() -> None:
    clock = FakeClock()
    shown = Preprocessing.from_dict({**PREPROCESSING, "short_side": 64, "crop": 64})
    newest = Newest(shown, rate=25, clock=clock, name="test")
    held, answers = [], []
    for number, picture in enumerate(pictures(250)):
        newest.put(number / 25, picture)
        held.append(len(newest))
        if number % 70 == 69:  # a pass takes ten times a clip's span
            clip = newest.take(0)
            assert clip is not None
            answers.append([read_number(frame) for frame in clip.frames])
            assert newest.take(0) is None, "the same frames are not seen twice"
        clock.sleep(1 / 25)
    assert answers == [[63, 65, 67, 69], [133, 135, 137, 139], [203, 205, 207, 209]]
    assert max(held) <= 9, "a clip's span and the frame before it"
    assert newest.missed == pytest.approx(250 - 4 * 8, abs=4)
    newest.finish(Ended("over", failed=False))
    assert newest.take(0) is not None, "what came since the last answer"
    with pytest.raises(Ended, match="over"):
        newest.take(0)


def test_whole_pictures_and_frames_spread_over_a_span() -> None:
    shown = Preprocessing.from_dict(
        {**PREPROCESSING, "stride": 1, "sampling": "segments", "duration": 8.0}
        | {"picture": "whole", "rectangle": [64, 96], "short_side": 64, "crop": 64}
    )
    newest = Newest(shown, rate=25, clock=FakeClock(), name="test")
    for number, picture in enumerate(pictures(250)):
        newest.put(number / 25, picture)
    clip = newest.take(0)
    assert clip is not None
    assert clip.frames.shape == (4, 64, 96, 3)
    assert len(newest) < 50, "frames that no clip takes are not kept"
    assert (clip.frames[:, :, 0] == round(255 * 0.45)).all(), "the mean colour beside them"
    numbers = [read_number(frame[:, 16:80]) for frame in clip.frames]
    assert numbers == pytest.approx([75, 125, 175, 225], abs=8)


def test_the_memory_of_a_clip_that_covers_a_long_time_is_bounded() -> None:
    shown = Preprocessing.from_dict({**PREPROCESSING, "short_side": 64, "crop": 64, "fps": 0.5})
    newest = Newest(shown, rate=100, clock=FakeClock(), name="test")
    for number, picture in enumerate(picture for picture in pictures(200) for _ in range(8)):
        newest.put(number / 100, picture)
    clip = newest.take(0)
    assert clip is not None
    assert len(newest) <= 514, "1400 frames came in the 14 s that a clip covers"
    numbers = [read_number(frame) for frame in clip.frames]
    assert numbers == pytest.approx([25, 75, 125, 175], abs=1)
    assert (clip.start, clip.end) == pytest.approx((2, 15.99), abs=0.1)


def test_a_long_wait_for_the_first_label_is_announced(folder: Path, capsys) -> None:
    write_video(folder / "f.mp4", 6)
    assert live("f.mp4", "--fps", "0.5", "--no-isolate") == 0
    assert "a clip covers 14 s, so the first label takes as long" in capsys.readouterr().err


def test_a_short_source_gives_one_clip_and_a_silent_one_stalls() -> None:
    clock = FakeClock()
    newest = Newest(Preprocessing.from_dict(PREPROCESSING), rate=25, clock=clock, name="test")
    for number, picture in enumerate(pictures(3)):
        newest.put(number / 25, picture)
    assert newest.take(0) is None
    clock.sleep(11)
    with pytest.raises(Ended, match="stalled: no frame for 10 s"):
        newest.take(0)
    short = Newest(Preprocessing.from_dict(PREPROCESSING), rate=25, clock=clock, name="test")
    for number, picture in enumerate(pictures(3)):
        short.put(number / 25, picture)
    short.finish(Ended("over", failed=False))
    clip = short.take(0)
    assert clip is not None
    assert len(clip.frames) == PREPROCESSING["frames"]


def times_of(source, clock: FakeClock) -> tuple[list[float], Ended]:
    found: list[float] = []
    try:
        for second, _ in played(source, clock):
            found.append(second)
    except Ended as end:
        return found, end
    raise AssertionError("it says nothing of its end")


def test_a_file_is_played_at_its_own_times(folder: Path) -> None:
    ticks = [3, 4, 9, 10, 40, 41]  # of 1/10 s; the fourth picture stands three seconds
    write_video(folder / "slow.mp4", numbered_frames(6), fps=10, times=ticks)
    clock = FakeClock()
    found, end = times_of(open_live("slow.mp4"), clock)
    assert found == pytest.approx([0, 0.1, 0.6, 0.7, 3.7, 3.8])
    assert clock.time == pytest.approx(103.8)
    assert not end.failed


def test_a_file_whose_times_stumble_lasts_as_long_as_it_says() -> None:
    """As of DivX in AVI, whose packed pictures have their times in another order."""
    stamps = [1, 4, 6, 5, 7, 9, 8, 10, 12, 11, 13, 15, 14]
    frames = [SimpleNamespace(pts=pts, width=64, height=64, is_corrupt=False) for pts in stamps]
    packets = [SimpleNamespace(decode=lambda frame=frame: [frame]) for frame in frames]
    stream = SimpleNamespace(time_base=0.1, average_rate=10, codec_context=SimpleNamespace())
    container = SimpleNamespace(demux=lambda _: iter(packets))
    opened = SimpleNamespace(stream=stream, container=container, codec="mpeg4")
    clock = FakeClock()
    found, _ = times_of(SimpleNamespace(kind="file", opened=opened, rate=10.0), clock)
    assert found == sorted(set(found))
    assert found[-1] == pytest.approx(1.5, abs=0.15)


def test_times_that_jump_or_are_missing_are_those_of_the_arrival() -> None:
    clock = FakeClock()
    stamps = [1000, 1040, None, 1120, 90_000, 90_040, 10, 50]

    class Packet:
        def __init__(self, pts: int | None) -> None:
            self.pts = pts

        def decode(self) -> list[SimpleNamespace]:
            clock.sleep(0.04)
            return [SimpleNamespace(pts=self.pts, width=64, height=64, is_corrupt=False)]

    stream = SimpleNamespace(time_base=1e-3, average_rate=25, codec_context=SimpleNamespace())
    container = SimpleNamespace(demux=lambda _: map(Packet, stamps))
    opened = SimpleNamespace(stream=stream, container=container, codec="h264")
    found, _ = times_of(SimpleNamespace(kind="stream", opened=opened, rate=25.0), clock)
    assert found == pytest.approx(np.arange(8) * 0.04, abs=1e-6)


def test_a_file_with_a_network_that_is_too_slow(folder: Path, monkeypatch, capsys) -> None:
    write_video(folder / "f.mp4", 30)
    take = Predictor.view_probabilities

    def slowly(self: Predictor, frames, **more):
        time.sleep(0.25)
        return take(self, frames, **more)

    monkeypatch.setattr(Predictor, "view_probabilities", slowly)
    arguments = ["f.mp4", "--json", "seen.jsonl", "--overlay", "seen.mp4"]
    assert live(*arguments) == 0
    answers = lines_of(folder / "seen.jsonl")
    assert 3 <= len(answers) <= 5
    assert all(0.25 < a["late"] < 1.5 and a["end"] - a["start"] <= SPAN + 1e-6 for a in answers)
    assert answers[0]["model"]["name"] == "tiny_i3d"
    assert {"class", "probability"} == set(answers[-1]["classes"][0])
    out, err = capsys.readouterr()
    changes = [label for label, _ in groupby(answer["label"] for answer in answers)]
    assert [line.split()[2] for line in out.splitlines()] == changes
    assert "f.mp4: it has ended" in err
    assert "30 frames" in err
    assert "of the frames dropped" in err
    frames = sequential_decode(folder / "seen.mp4")
    numbers = [read_number(frame[:120]) for frame in frames]
    assert numbers == sorted(set(numbers)), "in order, none twice"
    assert len(numbers) > 12


def answering(data: bytes, *, then: float) -> "contextmanager":
    """A server that sends the data, keeps silent so long, and hangs up."""

    @contextmanager
    def running() -> Iterator[str]:
        listener = socket.create_server(("127.0.0.1", 0))
        over = threading.Event()

        def run() -> None:
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.recv(65536)
                head = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n"
                head += b"" if then else b"Content-Length: %d\r\n" % len(data)
                connection.sendall(head + b"\r\n" + data)
                over.wait(then)
                connection.close()

        threading.Thread(target=run, daemon=True).start()
        try:
            yield f"http://user:secret@127.0.0.1:{listener.getsockname()[1]}/live.ts?key=secret"
        finally:
            over.set()
            listener.close()

    return running()


def stream_of(folder: Path, *sizes: int) -> bytes:
    parts = [
        write_video(folder / f"{size}.ts", numbered_frames(40, size, size)).read_bytes()
        for size in sizes
    ]
    return b"".join(parts)


@pytest.mark.parametrize(
    ("sizes", "then", "words", "code"),
    [
        ((64,), 30.0, "stalled: no frame for 1 s", 1),
        pytest.param((64,), 0.0, "it has ended", 0, marks=pytest.mark.slow),  # see the next test
        ((64, 96), 0.0, "changed from 64x64 to 96x96", 1),
    ],
)
def test_a_stream_that_ends_stalls_or_changes(
    sizes: tuple[int, ...], then: float, words: str, code: int, folder: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("videonl.video.live.STALL_SECONDS", 1.0)
    with answering(stream_of(folder, *sizes), then=then) as address:
        options = ["--json", "seen.jsonl", "--overlay", "seen.mp4", "--no-isolate"]
        assert live(address, *options) == 2
        assert "only with --allow-stream" in capsys.readouterr().err
        assert not (folder / "seen.mp4").exists()
        assert live(address, *options, "--allow-stream") == code
    err = capsys.readouterr().err
    assert words in err
    assert "secret" not in err
    assert "127.0.0.1" in err
    assert lines_of(folder / "seen.jsonl")
    assert sequential_decode(folder / "seen.mp4"), "what was written is whole"


def test_a_stream_in_a_process_of_its_own(folder: Path, capsys) -> None:
    with answering(stream_of(folder, 64), then=0.0) as address:
        assert live(address, "--allow-stream", "--json", "-") == 0
    (first, *_) = capsys.readouterr().out.splitlines()
    assert json.loads(first)["classes"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_signals_end_it_with_whole_files(name: str, folder: Path, capsys) -> None:
    write_video(folder / "long.mp4", np.tile(numbered_frames(100), (10, 1, 1, 1)))

    def press() -> None:
        while not (folder / "seen.jsonl").exists() or not lines_of(folder / "seen.jsonl"):
            time.sleep(0.05)
        os.kill(os.getpid(), getattr(signal, name))

    threading.Thread(target=press, daemon=True).start()
    assert live("long.mp4", "--json", "seen.jsonl", "--overlay", "seen.mp4") == 0
    assert "it was stopped" in capsys.readouterr().err
    assert 0 < len(sequential_decode(folder / "seen.mp4")) < 500


@pytest.mark.slow
def test_a_full_disk_is_no_crash_of_the_decoder(folder: Path, capsys) -> None:
    write_video(folder / "a.mp4", 30)
    with file_size_limit(25):
        assert live("a.mp4", "--overlay", "seen.mp4") == 2
    assert "the overlay cannot be written (File too large)" in capsys.readouterr().err
    assert not (folder / "seen.mp4").exists()


def test_what_is_no_source_is_one_sentence(folder: Path, capsys) -> None:
    (folder / "text.mp4").write_text("no video")
    wrong = {
        "97": "/dev/video97: this camera cannot be opened (No such file",
        "/dev/video97": "/dev/video97: this camera cannot be opened",
        "/dev/zero": "/dev/zero: this camera cannot be opened",
        "rtsp://host/x": "only http and https addresses are read, not rtsp",
        "file:///etc/passwd": "not file",
        "none.mp4": "No such file",
        "text.mp4": "not a readable video",
        "text.mp4#t=1,2": "a part of a file cannot be played",
    }
    for source, words in wrong.items():
        with pytest.raises(VideoError, match=r"^[^\n]*$") as caught:
            open_live(source, allow_stream=True)
        assert words in str(caught.value)
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\na.ts\n"
    with (
        answering(playlist, then=0.0) as address,
        pytest.raises(VideoError, match="none of the formats read"),
    ):
        open_live(address.replace("live.ts", "live.m3u8"), allow_stream=True)
    assert live("97", "--overlay", "seen.mp4") == 2
    assert live("97", "--overlay", "seen.avi") == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert not (folder / "seen.mp4").exists()
