"""Decoding in a process that can be killed: the same frames, one sentence for every disaster."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.odd_videos import write_odd
from tests.videos import read_number, write_video
from videonl.errors import VideoError, VideoNLError
from videonl.video import DecoderPool, SandboxedVideo, open_video


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("guarded")
    return {
        "mp4": write_video(folder / "a.mp4", 40),
        "avi": write_video(folder / "b.avi", 30, codec="mpeg4"),
        "webm": write_video(folder / "c.webm", 20, codec="libvpx-vp9"),
        "turned": write_video(
            folder / "d e\u00e9.mp4", np.zeros((5, 48, 64, 3), np.uint8), rotation=90
        ),
        "phone": write_odd("high_range.mov", folder),
    }


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(keep=2, time_limit=60) as pool:
        yield pool


def process_of(video: SandboxedVideo):
    assert video._child is not None
    return video._child._process


@pytest.mark.parametrize("kind", ["mp4", "avi", "webm", "turned", "phone"])
def test_the_same_as_in_this_process(kind: str, clips: dict[str, Path], pool: DecoderPool) -> None:
    with open_video(clips[kind]) as here, pool.open(clips[kind]) as there:
        for name in ("num_frames", "height", "width", "fps", "exact_by", "decoder", "damage"):
            assert getattr(here, name) == getattr(there, name), name
        assert (here.path, here.declared_frames) == (there.path, there.declared_frames)
        assert here.high_range == there.high_range == ("HLG" if kind == "phone" else "")
        assert (here.times() == there.times()).all()
        assert (here.times([3, 1]) == there.times([3, 1])).all()
        for short_side in (None, 24):
            wanted = [4, 0, 4, 2]
            first = here.read(wanted, short_side=short_side)
            second = there.read(wanted, short_side=short_side)
            assert first.dtype == second.dtype
            assert first.equal(second)


def test_a_process_serves_many_files(clips: dict[str, Path]) -> None:
    seen = set()
    with DecoderPool(keep=1) as pool:
        for _ in range(3):
            for kind in ("mp4", "avi", "webm"):
                with pool.open(clips[kind]) as video:
                    seen.add(process_of(video).pid)
                    assert read_number(video.read([7])[0].numpy()) == 7
    assert len(seen) == 1


def test_errors_read_as_in_this_process(tmp_path: Path, pool: DecoderPool, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.mp4").write_text("not a video", encoding="utf-8")
    Path("empty.mp4").touch()
    for name in ("text.mp4", "empty.mp4", "missing.mp4", ".", "http://example.org/a.mp4"):
        with pytest.raises(VideoError) as here:
            open_video(name)
        with pytest.raises(VideoError) as there:
            pool.open(name)
        if "://" not in name:
            assert str(here.value) == str(there.value)
        assert str(there.value).startswith(name)


def test_frames_outside_are_refused_and_the_process_goes_on(
    clips: dict[str, Path], pool: DecoderPool
) -> None:
    with pool.open(clips["mp4"]) as video:
        with pytest.raises(VideoError, match="there is no frame 40; the video has 40 frames"):
            video.read([40])
        assert read_number(video.read([39])[0].numpy()) == 39
    with pytest.raises(VideoError, match="is closed"):
        video.read([0])


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX signals")
def test_a_hanging_file_is_killed_and_the_next_one_is_read(clips: dict[str, Path]) -> None:
    with DecoderPool(time_limit=1.0) as pool:
        video = pool.open(clips["mp4"])
        process = process_of(video)
        process.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(VideoError, match=r"a\.mp4: it takes longer than 1 s to decode"):
            video.read([0])
        assert time.monotonic() - start < 30
        assert process.poll() is not None
        video.close()
        with DecoderPool() as other, other.open(clips["mp4"]) as video:
            assert video.num_frames == 40


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGABRT, "SIGABRT"), (9, "memory")]
)
def test_a_crash_is_one_error(
    number: int, words: str, clips: dict[str, Path], pool: DecoderPool
) -> None:
    with pool.open(clips["mp4"]) as video:
        process_of(video).send_signal(number)
        process_of(video).wait()
        with pytest.raises(VideoError, match=rf"a\.mp4: .*{words}"):
            video.read([0])
    with pool.open(clips["mp4"]) as video:
        assert video.num_frames == 40


def test_an_idle_process_that_died_is_replaced(clips: dict[str, Path]) -> None:
    with DecoderPool() as pool:
        with pool.open(clips["mp4"]) as video:
            process = process_of(video)
        process.kill()
        process.wait()
        with pool.open(clips["mp4"]) as video:
            assert process_of(video).pid != process.pid


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's memory limits")
def test_memory_is_limited(tmp_path: Path) -> None:
    large = write_video(
        tmp_path / "large.avi", np.zeros((3, 2000, 2400, 3), np.uint8), codec="mjpeg",
        pixel_format="yuvj444p",
    )  # fmt: skip
    with (
        DecoderPool(memory_mb=24) as pool,
        pytest.raises(VideoError, match="more than 24 MB of memory"),
    ):
        pool.open(large)
    with DecoderPool(memory_mb=1024) as pool, pool.open(large) as video:
        assert video.read([0]).shape == (1, 2000, 2400, 3)


def test_decoding_can_be_cancelled_from_another_thread(clips: dict[str, Path]) -> None:
    with DecoderPool(time_limit=0) as pool, pool.open(clips["mp4"]) as video:
        process_of(video).send_signal(signal.SIGSTOP)
        threading.Timer(0.2, video.cancel).start()
        with pytest.raises(VideoError, match="stopped"):
            video.read([0])


def test_a_closed_pool_leaves_no_process(clips: dict[str, Path]) -> None:
    pool = DecoderPool()
    video = pool.open(clips["mp4"])
    process = process_of(video)
    pool.close()
    assert process.poll() is not None
    with pytest.raises(VideoError):
        video.read([0])
    with pytest.raises(VideoNLError, match="closed"):
        pool.open(clips["mp4"])


def test_an_answer_of_nonsense_is_not_trusted(clips: dict[str, Path], pool: DecoderPool) -> None:
    request = {"do": "read", "indices": [0, 1], "size": {"short_side": 8}}
    with pool.open(clips["mp4"]) as video, pytest.raises(VideoError, match="invalid answer"):
        video._ask(request, rows=5)


def test_many_threads_share_a_pool(clips: dict[str, Path], pool: DecoderPool) -> None:
    numbers: list[int] = []

    def read(index: int) -> None:
        with pool.open(clips["mp4"]) as video:
            numbers.append(read_number(video.read([index])[0].numpy()))

    threads = [threading.Thread(target=read, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(4))
