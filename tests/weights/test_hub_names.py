"""Names on the hub, and what is said where the hub's client is not installed."""

import sys
from pathlib import Path

import pytest

from videonl.cli.main import main
from videonl.inference import Predictor
from videonl.weights import parse_hub, pinned_name, stem_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_names_come_apart_and_together() -> None:
    for text, parts in {
        "hf:lab/i3d": ("lab/i3d", None, None),
        "hf:lab/i3d@v1.0": ("lab/i3d", "v1.0", None),
        f"hf:lab/i3d@{COMMIT}/best.ckpt": ("lab/i3d", COMMIT, "best.ckpt"),
        "hf:lab/i3d/sub/a.pth": ("lab/i3d", None, "sub/a.pth"),
        "hf:lab/i3d@refs/pr/3/a.pth": ("lab/i3d", "refs/pr/3", "a.pth"),
        "hf:lab/i3d@feature%2Fx": ("lab/i3d", "feature/x", None),
    }.items():
        found = parse_hub(text)
        assert (found.repository, found.revision, found.file) == parts
        assert str(found) == text
        assert parse_hub(str(Path(text))) == found
    assert parse_hub("hf://lab/i3d") == parse_hub("hf:lab/i3d") == parse_hub("hf:/lab/i3d")
    assert stem_of("hf:lab/i3d@v1.0") == "i3d"


def test_bad_names_are_one_sentence() -> None:
    names = ["", "lab", "lab/", "/", "a/b/../c", "a/b/", "a/b//c", "a--b/c", "a/b@", "a/b@../x"]
    names += ["a b/c", "a/b@v1@v2", "a/.b", "a/b.", "ü/b", "a/b\n", "a/b/..\\c", f"a/{'b' * 97}"]
    for name in names:
        with pytest.raises(ValueError, match=r"USER/NAME") as caught:
            parse_hub(f"hf:{name}")
        assert f"hf:{name}" in str(caught.value)


def test_a_file_in_the_clients_cache_knows_its_commit() -> None:
    cache = Path("/home/me/hub/models--lab--i3d/snapshots")
    assert pinned_name(cache / COMMIT / "sub/a.pth") == f"hf:lab/i3d@{COMMIT}/sub/a.pth"
    assert pinned_name(cache / "main" / "a.pth") is None
    assert pinned_name("runs/x/best.ckpt") is None


def test_without_the_package_the_sentence_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    words = "needs the package huggingface_hub: pip install 'videonl[hub]'"
    with pytest.raises(ValueError, match=r"pip install 'videonl\[hub\]'"):
        Predictor.from_checkpoint("hf:lab/i3d")
    root = ["--data.root", str(tmp_path)]
    (video := tmp_path / "a.mp4").touch()
    for argv in (
        ["predict", str(video), "--checkpoint", "hf:lab/i3d"],
        ["train", "fit", *root, "--model.pretrained", "hf:lab/i3d@v1"],
        ["train", "test", *root, "--checkpoint", "hf:lab/i3d"],
        ["compare", "hf:lab/i3d", "--no-speed"],
        ["attend", "a.mp4", "--checkpoint", "hf:lab/i3d"],
        ["export", "--checkpoint", "hf:lab/i3d"],
        ["convert", "hf:lab/i3d", str(tmp_path / "x.safetensors")],
        ["serve", "--checkpoint", "hf:lab/i3d"],
        ["push", "runs/x", "lab/i3d"],
    ):
        assert main(argv) != 0
        shown = capsys.readouterr()
        assert words in shown.err, argv


def test_a_training_does_not_go_on_from_the_hub(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = ["train", "fit", "--data.root", str(tmp_path)]
    for flag in ("--resume", "--ckpt_path"):
        assert main([*fit, flag, "hf:lab/i3d"]) == 2
        error = capsys.readouterr().err
        assert "start from them with --model.pretrained hf:lab/i3d" in error
