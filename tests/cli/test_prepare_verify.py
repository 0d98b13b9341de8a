"""``videonl prepare``: what is written is compared with what went in; lists; enlarging."""

from importlib import import_module
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.videos import numbered_frames, write_video
from videonl.cli.main import main
from videonl.video import Recipe, encode_file, open_video


def rewrite(path: Path, frames: np.ndarray, times: list[int]) -> None:
    """Put another video in the place of the one just written."""
    write_video(path, frames, times=times, container_format="mp4")


@pytest.mark.parametrize(
    ("frames", "times", "words"),
    [
        (255 - numbered_frames(20), list(range(20)), "looks different"),
        (numbered_frames(20)[:18], list(range(18)), "18 of 20 frames"),
        (numbered_frames(20), [2 * i for i in range(20)], "shown at other times"),
    ],
)
def test_a_faulty_copy_never_gets_its_name(
    frames: np.ndarray,
    times: list[int],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = write_video(tmp_path / "a.mp4", 20)
    encode = import_module("videonl.video.encoding")._encode

    def faulty(source: Path, target: Path, recipe: Recipe) -> object:
        proof = encode(source, target, recipe)
        rewrite(target, frames, times)
        return proof

    monkeypatch.setattr("videonl.video.encoding._encode", faulty)
    result = encode_file(source, tmp_path / "b.mp4")
    assert words in result.error
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("quality", [0, 51])
def test_no_quality_is_mistaken_for_a_fault(quality: int, tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", 60)
    assert encode_file(source, tmp_path / "b.mp4", Recipe(quality=quality)).error == ""


def test_enlarging_is_asked_for(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", numbered_frames(5, 64, 96))
    for enlarge, expected in ((False, (64, 96)), (True, (128, 192))):
        recipe = Recipe(short_side=128, enlarge=enlarge)
        assert encode_file(source, tmp_path / "b.mp4", recipe).error == ""
        with open_video(tmp_path / "b.mp4") as video:
            assert (video.height, video.width) == expected


def test_no_sound_and_no_b_frames(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", 40)
    assert encode_file(source, tmp_path / "b.mp4", Recipe(key_frames=16)).frames == 40
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert not container.streams.audio
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
    assert [i for i, p in enumerate(packets) if p.is_keyframe] == [0, 16, 32]
    assert all(p.pts == p.dts for p in packets)


def test_absolute_paths_in_lists_lead_to_the_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "src", tmp_path / "dst"
    video = write_video(source / "clips" / "a b.avi", 10, codec="mpeg4")
    (source / "train.csv").write_text(f'path,label\n"{video}",0\n')
    (source / "val.csv").write_bytes("path;label\r\nclips/a b.avi;caf\u00e9\r\n".encode("utf-16"))
    (source / "labels.json").write_text('{"a": 0}')
    (source / "notes.txt").write_bytes(b"caf\xe9\r\n\0")
    arguments = [str(source), str(target), "--crf", "30", "--keyint", "4", "--workers", "1"]
    assert main(["prepare", *arguments]) == 0
    assert (target / "val.csv").read_text("utf-8") == "path;label\nclips/a b.mp4;caf\u00e9\n"
    for name in ("labels.json", "notes.txt"):
        assert (target / name).read_bytes() == (source / name).read_bytes()
    assert (target / "train.csv").read_text() == f'path,label\n"{target / "clips" / "a b.mp4"}",0\n'
    assert "lists copied: labels.json, notes.txt, train.csv, val.csv" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("late.mp4", {"times": range(100, 124), "options": {"bf": "0"}}),
        ("stream.ts", {"codec": "mpeg2video"}),
        ("pieces.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("no_times.avi", {"options": {"bf": "2"}}),  # AVI stores no times, and H.264 needs them
    ],
)
def test_copies_open_by_their_header_and_keep_the_times(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """Whatever the source: nothing of a copy is demuxed to open it."""
    source = write_video(tmp_path / name, 24, **options)
    target = tmp_path / "copy.mp4"
    assert not encode_file(source, target, Recipe(short_side=64)).error
    with open_video(source) as old, open_video(target) as new:
        assert new.exact_by == "header"
        assert old.num_frames == new.num_frames
        np.testing.assert_allclose(new.times(), old.times(), atol=1e-3)
