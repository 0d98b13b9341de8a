"""A damaged frame costs the windows and clips that hold it, not the recording."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from tests.cli.predicting import predict
from tests.inference.networks import write_checkpoint
from tests.videos import numbered_frames, write_video
from videonl.cli.main import main
from videonl.errors import VideoError
from videonl.inference import load_features
from videonl.shares import counted
from videonl.video import DecoderPool, inspect_file, open_video

BAD = 55  # the packet that is damaged; it is shown as this frame, or near it
# Threads are named, or the bytes that are damaged are others on a machine of other cores.
OPTIONS = {"g": "10", "bf": "0", "sc_threshold": "0", "threads": "3"}
LINE = ["--timeline", "--window", "0.4s", "--hop", "0.2s"]


def recording() -> np.ndarray:
    """100 frames of noise, or a packet would hold too few bytes to be damaged."""
    noise = np.random.default_rng(0).integers(0, 60, (100, 120, 160, 3), np.uint8)
    return numbered_frames(100, 120, 160) // 2 + noise


def damage(path: Path, to: Path, *, at: int = BAD, whole: bool = False) -> Path:
    """Change some bytes in the middle of a packet, or all but its begin."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = [p for p in container.demux(container.streams.video[0]) if p.size][at]
    middle = packet.pos + packet.size // 2
    if whole and path.suffix == ".ts":  # some packets of 188 bytes never came
        del data[packet.pos + 188 : packet.pos + 5 * 188]
    elif whole:
        data[packet.pos + 40 : packet.pos + packet.size] = bytes(packet.size - 40)
    else:
        data[middle : middle + 8] = bytes(byte ^ 0xA5 for byte in data[middle : middle + 8])
    to.write_bytes(data)
    return to


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage")
    write_checkpoint(folder)
    frames = recording()
    write_video(folder / "good.mp4", frames, options=OPTIONS)
    write_video(folder / "good.ts", frames, options=OPTIONS)
    write_video(folder / "good.avi", frames, codec="mpeg4", options={"g": "10"})
    for ending in ("avi", "mkv"):
        write_video(folder / f"jpeg.{ending}", frames, codec="mjpeg", pixel_format="yuvj420p")
    damage(folder / "good.mp4", folder / "bad.mp4")
    damage(folder / "good.mp4", folder / "lost.mp4", whole=True)
    damage(folder / "good.ts", folder / "bad.ts")
    damage(folder / "good.ts", folder / "lost.ts", whole=True)
    damage(folder / "good.avi", folder / "bad.avi")
    for ending in ("avi", "mkv"):
        damage(folder / f"jpeg.{ending}", folder / f"badjpeg.{ending}")
        damage(folder / f"jpeg.{ending}", folder / f"lostjpeg.{ending}", whole=True)
    return folder


@pytest.fixture
def folder(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


# What leans on a packet that cannot be decoded is damaged, too: up to the next key frame, 60.
KINDS = {
    "bad.mp4": [55],
    "lost.mp4": [55, 56, 57, 58, 59],
    "bad.ts": [55],
    "lost.ts": [55],
    "bad.avi": [55],
    "badjpeg.avi": [55],
    "badjpeg.mkv": [55],
    "lostjpeg.avi": [55],
    "lostjpeg.mkv": [55],
}


def test_the_damaged_frames_of_every_kind(folder: Path) -> None:
    truths: dict[str, np.ndarray] = {}
    with DecoderPool() as pool:
        for name, expected in KINDS.items():
            intact = name.replace("bad", "").replace("lost", "")
            if intact not in truths:
                with open_video(intact if "jpeg" in intact else f"good{intact}") as whole:
                    truths[intact] = whole.read_array(range(100))
            truth = truths[intact]
            for opened in (
                (open_video, pool.open) if name in ("lost.mp4", "bad.ts") else (open_video,)
            ):
                with opened(name, forgiving=True) as video:
                    assert video.num_frames == 100, name
                    frames = video.read_array(range(100))
                    assert sorted(video.damaged) == expected, name
                    # what leans on a repaired picture is as a full decode gives it
                    assert np.array_equal(frames[:55], truth[:55]), name
                    assert np.array_equal(frames[60:], truth[60:]), name
                with opened(name, forgiving=True) as video:
                    video.read_array([10, 70])
                    assert not video.damaged, "those that nobody read are nobody's"


def test_damage_of_mjpeg_is_reported_without_forgiveness(folder: Path) -> None:
    for name in ("badjpeg.avi", "badjpeg.mkv"):
        with open_video(name) as video, pytest.raises(VideoError, match="damaged"):
            video.read_array([54, 55])
        assert inspect_file(name).status == "damaged"
        assert inspect_file(name.removeprefix("bad")).status == "ok"


def timelines(*arguments: str) -> tuple[int, dict]:
    code = predict(*arguments, *LINE, "--json", "out.json", "--quiet", "--no-isolate")
    return code, json.loads(Path("out.json").read_text(encoding="utf-8"))["timelines"][0]


def test_a_timeline_goes_on(folder: Path, capsys) -> None:
    _, whole = timelines("good.mp4")
    truth = {window["start"]: window["classes"] for window in whole["windows"]}
    for name in ("bad.mp4", "lost.mp4"):
        capsys.readouterr()
        code, found = timelines(name)
        assert code == 0
        left = found["windows_left_out"]
        assert all(start - 1e-6 <= 59 / 25 and end >= 55 / 25 for start, end in left)
        assert 1 <= len(left) <= 3
        assert len(found["windows"]) + len(left) == len(truth)
        assert found["damaged"]["frames"][0] == 55
        assert not found["damaged"]["concealed"]
        assert f"{len(left)} of {len(truth)} windows left out" in capsys.readouterr().err
        for window in found["windows"]:
            near = window["frames"][1] >= 55 and window["frames"][0] < 60
            assert near or window["classes"] == truth[window["start"]]
        code, found = timelines(name, "--conceal")
        assert (code, len(found["windows"])) == (0, len(truth))
        assert found["damaged"]["concealed"]
        count = len(found["damaged"]["frames"])
        assert f"{counted(count, 'damaged frame')} shown as repaired" in capsys.readouterr().err


def test_clips_of_a_prediction(folder: Path, capsys) -> None:
    assert predict("bad.mp4", "--views", "94x1", "--json", "out.json", "--isolate") == 0
    (found,) = json.loads(Path("out.json").read_text(encoding="utf-8"))["predictions"]
    assert len(found["views"]) == 94 - 4
    assert not any(BAD in view["frames"] for view in found["views"])
    assert found["damaged"] == {"frames": [BAD], "concealed": False}
    assert "4 of 94 clips left out" in capsys.readouterr().err
    assert (
        predict("bad.mp4", "--views", "94x1", "--json", "out.json", "--conceal", "--no-isolate")
        == 0
    )
    (found,) = json.loads(Path("out.json").read_text(encoding="utf-8"))["predictions"]
    assert len(found["views"]) == 94
    assert "1 damaged frame shown as repaired" in capsys.readouterr().err
    part = "bad.mp4#t=2.2,2.28"  # two frames, one of them damaged
    assert predict(part, "--no-isolate", "--views", "1x1") == 1
    assert "all clips contain damaged frames" in capsys.readouterr().err
    assert predict(part, "--no-isolate", "--views", "1x1", "--conceal") == 0


@pytest.mark.slow
def test_features_of_whole_windows(folder: Path, capsys) -> None:
    arguments = ["--checkpoint", "model.safetensors", "--device", "cpu", "--window", "8"]
    assert main(["extract", "good.mp4", "lost.mp4", *arguments]) == 0
    good, bad = (load_features(Path(f"features/{n}.mp4.npz"))[0] for n in ("good", "lost"))
    rows = np.isin(good.start, bad.start)
    assert 0 < (~rows).sum() <= 4
    assert np.array_equal(good.values[rows], bad.values)
    assert np.array_equal(good.end[rows], bad.end)
    assert "windows left out because of damaged" in capsys.readouterr().err
    assert main(["extract", "lost.mp4", *arguments, "--conceal", "--overwrite"]) == 0
    assert len(load_features(Path("features/lost.mp4.npz"))[0].values) == len(good.values)


@pytest.mark.slow
def test_a_page_of_a_damaged_recording(folder: Path) -> None:
    assert predict("lost.mp4", *LINE, "--report", "page.html", "--quiet") == 0
    assert "<html" in Path("page.html").read_text(encoding="utf-8")
