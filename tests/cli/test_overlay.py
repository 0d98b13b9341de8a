"""``--overlay``: the same frames, times and sound, with what the network says burnt in."""

import json
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.cli.predicting import predict
from tests.inference.networks import write_checkpoint
from tests.videos import numbered_frames, read_number, sequential_decode, write_timed, write_video
from videonl.inference import write_overlay

STAMPS = [0.5, 0.54, 0.7, 1.3, 1.31, 2.0, 2.4, 3.0]  # the sound begins half a second earlier


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_checkpoint(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def times_of(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.pts * stream.time_base for frame in container.decode(stream)]


def sound_of(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.audio)
        return [(p.pts * p.time_base, bytes(p)) for p in packets if p.size]


def rate_of(path: Path) -> Fraction:
    with av.open(str(path)) as container:
        return container.streams.video[0].average_rate


def test_frames_times_and_sound_are_those_of_the_original(folder: Path, capsys) -> None:
    write_timed(folder / "odd.mp4", STAMPS, last=0.7, sound=4)
    assert predict("odd.mp4", "--overlay", "seen.mp4", "--isolate") == 0
    assert times_of(folder / "seen.mp4") == times_of(folder / "odd.mp4")
    assert sound_of(folder / "seen.mp4") == sound_of(folder / "odd.mp4")
    assert len(sound_of(folder / "seen.mp4")) > 100
    frames = sequential_decode(folder / "seen.mp4")
    assert frames[0].shape == (256, 256, 3), "64 pixels hold no letter: enlarged four times"
    assert [read_number(frame) for frame in frames] == list(range(len(STAMPS)))
    panel = frames[0][160:250, 10:246]
    assert (panel > 235).all(axis=2).mean() > 0.005, "white letters"
    assert not list(folder.glob(".*part*"))


@pytest.mark.parametrize("size", [(120, 90), (270, 480), pytest.param(
    (1080, 1920), marks=pytest.mark.slow)])  # fmt: skip
def test_readable_at_every_size_and_turned_upright(size: tuple[int, int], folder: Path) -> None:
    path = write_video(folder / "turned.mp4", numbered_frames(6, *size), rotation=90)
    assert predict(str(path), "--overlay", "seen.mp4", "--no-isolate") == 0
    (first, *_) = sequential_decode(folder / "seen.mp4")
    whole = sequential_decode(path)[0]
    short = min(first.shape[:2])
    assert short >= 240
    assert first.shape[0] * whole.shape[1] == first.shape[1] * whole.shape[0], "not stretched"
    white = (first > 235).all(axis=2)
    rows = np.flatnonzero(white[first.shape[0] // 2 :].any(axis=1))
    assert np.ptp(rows) >= short // 18, "letters of at least a row's height"
    assert rate_of(folder / "seen.mp4") == rate_of(path) == 25


def test_a_folder_and_a_timeline(folder: Path, capsys) -> None:
    (folder / "in" / "deep").mkdir(parents=True)
    for name, count in (("in/a.mp4", 60), ("in/a.mkv", 50), ("in/deep/b.mp4", 20)):
        write_video(folder / name, count)
    (folder / "in" / "broken.mp4").write_bytes(b"no video")
    arguments = ["in", "--overlay", "out", "--timeline", "--window", "0.8s", "--quiet"]
    arguments += ["--no-isolate"]
    assert predict(*arguments) == 1
    found = {str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*.mp4")}
    assert found == {"a.mp4", "a.mp4.mp4", "deep/b.mp4"}
    counts = {name: len(times_of(folder / "out" / name)) for name in found}
    assert sorted(counts.values()) == [20, 50, 60]
    assert "broken.mp4" in capsys.readouterr().err


def test_resume_writes_the_overlays_that_are_not_there(folder: Path, capsys) -> None:
    for name in ("in/a.mp4", "in/b.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_video(folder / name, 5)
    words = ["in", "--json", "o.json", "--quiet", "--no-isolate"]
    assert predict("in/a.mp4", *words[1:]) == 0
    assert predict(*words, "--overlay", "out", "--resume") == 0
    assert {path.name for path in (folder / "out").glob("*.mp4")} == {"a.mp4", "b.mp4"}
    capsys.readouterr()
    assert predict(*words, "--overlay", "out", "--resume") == 0
    assert "already in the output: 2 of 2 files" in capsys.readouterr().err
    assert len(json.loads((folder / "o.json").read_text())["predictions"]) == 2


@pytest.mark.slow
def test_sound_that_mp4_can_not_hold_becomes_aac(folder: Path) -> None:
    path = folder / "old.avi"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        voice = container.add_stream("pcm_u8", rate=8000, layout="mono")
        for array in numbered_frames(50):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(array, "rgb24")))
        noise = np.random.default_rng(0).integers(0, 255, (1, 16000), np.uint8)
        frame = av.AudioFrame.from_ndarray(noise, format="u8", layout="mono")
        frame.sample_rate = 8000
        container.mux(voice.encode(frame))
        container.mux(voice.encode(None))
        container.mux(picture.encode())
    assert predict("old.avi", "--overlay", "seen.mp4") == 0
    with av.open(str(folder / "seen.mp4")) as container:
        (stream,) = container.streams.audio
        assert stream.codec_context.name == "aac"
        assert float(stream.duration * stream.time_base) == pytest.approx(2.0, abs=0.2)
    assert len(times_of(folder / "seen.mp4")) == 50


def test_an_encoder_is_there_without_x264(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    path = write_timed(folder / "v.mp4", STAMPS)
    assert predict(str(path), "--overlay", "seen.mp4", "--no-isolate") == 0
    with av.open(str(folder / "seen.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    assert times_of(folder / "seen.mp4") == times_of(path)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_the_length(folder: Path) -> None:
    path = write_video(folder / "long.mp4", np.tile(numbered_frames(100), (40, 1, 1, 1)))
    taken: list[int] = []

    def look(done: int, total: int) -> None:
        taken.append(int(Path("/proc/self/statm").read_bytes().split()[1]) * 4096)

    write_overlay(str(path), folder / "out.mp4", [], on_frames=look)
    assert len(taken) > 120
    assert taken[-1] - taken[20] < 8 << 20


def test_what_can_not_be_is_one_sentence(folder: Path, capsys) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(folder / name, 12)
    wrong = [
        (["a.mp4", "b.mp4", "--overlay", "x.mp4"], "one file for 2 videos; give a folder"),
        (["a.mp4", "--overlay", "a.mp4"], "would replace the video a.mp4"),
        (["a.mp4", "b.mp4", "--overlay", "."], "would replace the video"),
        (["a.mp4", "--overlay", "x.avi"], "name it FILE.mp4"),
    ]
    for arguments, words in wrong:
        assert predict(*arguments) == 2
        assert words in capsys.readouterr().err
    if os.geteuid():  # root writes everywhere
        return
    (folder / "file").write_text("")
    assert predict("a.mp4", "--overlay", "file/x.mp4") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
