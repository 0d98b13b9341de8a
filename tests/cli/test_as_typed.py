"""Words in any order, and values that are refused by the name that the user typed."""

import sys
import time
from pathlib import Path

import pytest

from videonl.cli.main import main

Capture = pytest.CaptureFixture[str]


def test_names_stand_before_between_and_behind_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["a.mp4", "--top-k", "2", "b.mp4", "--quiet", "c.mp4", "--views=1x1", "--", "-d.mp4"]
    assert main(["predict", *words]) == 1  # and no network is asked for
    lines = [f"  {name}.mp4: no such file" for name in ("a", "b", "c", "-d")]
    assert capsys.readouterr().err.splitlines() == ["4 of 4 could not be classified:", *lines]
    assert main(["compare", "nix", "--no-speed", "nux"]) == 1
    assert "nux failed: there is no network 'nux'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["check", "a", "--workers", "2", "b"])
    assert "unrecognized arguments: b (" in capsys.readouterr().err


def test_a_missing_video_is_said_beside_a_missing_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").write_bytes(b"")
    assert main(["predict", "nothere.mp4", "a.mp4"]) == 2
    assert "error: nothere.mp4: no such file; and --checkpoint is" in capsys.readouterr().err
    assert main(["predict", "--from-list", "a.mp4"]) == 2
    assert "--from-list a.mp4 is empty; it should have" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--data.batch_size 0", "--data.batch_size=0: it must be a whole number"),
        ("--data.frames=0", "--data.frames is 0; it must be"),
        ("--data.views 2x2", "--data.views=(2, 2): crops"),
        ("--data.views 2", "--data.views 2: it must be a list"),
        ("--config c.yaml", "--data.crop=300 is larger than --data.short_side=256"),
        ("--config=c.yaml --data.crop 8 --data.stride 4", "--data.stride=4 does not apply to --da"),
    ],
)
def test_a_refused_value_is_named_by_its_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, words: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    table = "{root: x, crop: 300, short_side: 256}"
    if "stride" in words:
        table = "{root: x, sampling: segments, short_side: 256}"
    Path("c.yaml").write_text(f"data: {table}\n", encoding="utf-8")
    for command in (["train", "fit"], ["compare", "tiny_i3d", "--train", "--data", "x"]):
        assert main([*command, "--data.root", "x", *words.split()]) == 2
        assert f" error: {said}" in capsys.readouterr().err


def test_a_message_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    fit = ["train", "fit", "--data.root", ".", "--data.train_list", "train.csv"]
    for letters, said in ((9_000, ", line 1: 'xxx"), (10_001, ", line 1 has 10001 letters")):
        Path("train.csv").write_text("x" * letters, encoding="utf-8")
        assert main(fit) == 2
        assert len(error := capsys.readouterr().err) < 2100
        assert f"error: train.csv{said}" in error
    Path("train.csv").write_text("a.mp4," + "x" * 9_000, encoding="utf-8")
    before = time.monotonic()
    assert main(fit) == 2
    assert time.monotonic() - before < 5  # no expression that takes the square of the length


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("predict|a.mp4|--json|", "--json has an empty value; give one"),
        ("predict|a.mp4|--json=", "--json has an empty value; give one"),
        ("predict|a.mp4|", "one of the words is empty"),
        ("train|fit|--data.root|", "--data.root has an empty value"),
        ("train|test|--data.root|x|--json=", "--json has an empty value"),
        ("train|predict|--data.root|x|--json|a.jsonl|--csv|a.csv", "predict writes one file"),
        ("predict|a.mp4|--fps|1e9", "--fps: '1e9' is not keep, training or a number above 0 and"),
    ],
)
def test_what_would_be_ignored_is_refused(capsys: Capture, words: str, said: str) -> None:
    """Such as an empty value, which an unset variable leaves: ``--json "$OUT"``."""
    with pytest.raises(SystemExit, match="2"):
        sys.exit(main(words.split("|")))
    assert f"error: {said}" in capsys.readouterr().err
