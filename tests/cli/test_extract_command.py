"""``videonl extract`` on a folder: files, resuming, failures, shards."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from videonl.cli.main import main
from videonl.inference import FeatureExtractor


def extract(*arguments: str) -> int:
    words = ["extract", "--checkpoint", "model.safetensors", "--device", "cpu", "--no-isolate"]
    return main([*words, "--window", "8", "--stride", "4", *arguments])


def test_one_npz_per_video(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert extract("in", "--out", str(out)) == 0
    assert "3 videos" in capsys.readouterr().out
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert files == ["-dash.mp4.npz", "a.mp4.npz", "sub/b.AVI.npz"]
    with np.load(out / "a.mp4.npz") as content:
        assert content["features"].shape[0] == len(content["start"]) == len(content["end"]) == 7
        about = json.loads(str(content["about"]))
    assert about["layer"] == "pool"
    assert (about["window"], about["stride"], about["preprocessing"]["frames"]) == (8, 4, 4)
    assert len(about["model"]["sha256"]) == 64


def test_a_stopped_run_goes_on(
    here: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = str(tmp_path / "out")
    original, seen = FeatureExtractor.extract, []

    def counted(self: FeatureExtractor, path: str, **named: object) -> object:
        seen.append(path)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return original(self, path, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(FeatureExtractor, "extract", counted)
    assert extract("in", "--out", out) == 130
    assert extract("in", "--out", out) == 0
    assert len(seen) == 4, "the two that were there are not extracted again"
    assert "1 video: " in capsys.readouterr().out
    assert extract("in", "--out", out, "--layer", "res2") == 2
    assert "another layer" in capsys.readouterr().err
    assert extract("in", "--out", out, "--layer", "res2", "--overwrite", "--quiet") == 0
    assert capsys.readouterr().out == ""


def test_failures_are_listed_at_the_end(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    out = tmp_path / "out"
    assert extract(str(bad), "in/a.mp4", "gone.mp4", "--out", str(out)) == 1
    err = capsys.readouterr().err
    assert "2 of 3 could not be extracted" in err
    assert "gone.mp4: no such file" in err
    assert [path.name for path in out.iterdir()] == ["a.mp4.npz"]


def test_places_keep_the_tree_and_clashes_are_named(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other/a.mp4"
    other.parent.mkdir()
    other.write_bytes(Path("in/a.mp4").read_bytes())
    out = tmp_path / "out"
    assert extract("in/sub", "in/a.mp4", "./in/a.mp4", str(other), "--out", str(out)) == 1
    assert (
        f"{other}: another video's features would have the same file name"
        in capsys.readouterr().err
    )
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*.npz"))
    assert files == ["a.mp4.npz", "b.AVI.npz"]
    assert extract(str(other), "--out", str(out)) == 2
    assert "has the features of another video, in/a.mp4: give" in capsys.readouterr().err
    assert extract(os.path.abspath("in/a.mp4"), "--out", str(out)) == 0
    assert "1 already there" in capsys.readouterr().out


def test_shards_share_the_work(here: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert extract("in", "--out", str(out), "--shard", "0/2") == 0
    assert len([*out.rglob("*.npz")]) == 2
    assert extract("in", "--out", str(out), "--shard", "1/2") == 0
    assert len([*out.rglob("*.npz")]) == 3


def test_bad_usage_is_one_sentence(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert extract("in", "--layer", "res9") == 2
    assert "no layer 'res9'" in capsys.readouterr().err
    assert extract("in", "--frames", "9") == 2
    assert "shorter than its frames" in capsys.readouterr().err
