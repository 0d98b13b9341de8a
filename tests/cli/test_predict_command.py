import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.predicting import predict
from tests.inference.networks import NAMES, write_checkpoint
from videonl.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def test_help_is_quick_and_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from videonl.cli.main import main\n"
        "try: main(['predict', '--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert 'torch' not in sys.modules and 'rich' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for option in ("--top-k", "--views", "--json", "--csv", "--quiet", "--resume", "--from-list"):
        assert option in done.stdout


@pytest.mark.slow
def test_infer_is_the_same_command(folder: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "infer.py"),
            "in/a.mp4",
            *["--checkpoint", "model.safetensors", "--views", "1x1", "--top-k", "2"],
        ],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "in/a.mp4"
    assert len(lines) == 3
    assert lines[1].split()[0] in NAMES
    assert lines[1].endswith("%")
    assert "\x1b" not in done.stdout, "no colours where the output is no terminal"


def test_quiet_prints_nothing_but_labels(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("--quiet", "--views", "1x1", "in/a.mp4", "in/missing.mp4", "in/sub") == 1
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [file for file, _ in lines] == ["in/missing.mp4", "in/a.mp4", "in/sub/b.AVI"]
    assert lines[0][1] == ""
    assert {label for _, label in lines[1:]} <= set(NAMES)
    assert predict("--quiet", "--views", "1x1", "in/a.mp4") == 0
    assert capsys.readouterr().out.strip() in NAMES


def test_failures_are_listed_and_the_others_classified(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("not a video")
    assert predict(str(bad), "in/a.mp4", "nowhere.mp4", "--views", "1x1", "--json", "-") == 1
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert [entry["path"] for entry in content["predictions"]] == ["in/a.mp4"]
    assert [entry["path"] for entry in content["failures"]] == ["nowhere.mp4", str(bad)]
    assert content["failures"][0]["error"] == "no such file"
    assert "2 of 3 could not be classified" in err
    assert "Traceback" not in err


def test_names_that_nobody_knows(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_checkpoint(tmp_path, class_names=None))
    labels = tmp_path / "labels.txt"
    labels.write_text("eins\nzwei\n\ndrei\n")
    words = ["predict", "in/a.mp4", "--views", "1x1", "--quiet", "--checkpoint", path]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out.startswith("class ")
    assert "--labels" in err
    assert main([*words, "--labels", str(labels)]) == 0
    out, err = capsys.readouterr()
    assert out.strip() in ("eins", "zwei", "drei")
    assert err == ""


def test_patterns_lists_and_names_with_a_dash(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict("--views", "1x1", "in/**/*") == 0
    assert capsys.readouterr().out.count("in/") == 3
    monkeypatch.setattr(sys, "stdin", io.StringIO("in/a.mp4\r\n\n# no\nin/sub/b.AVI\n"))
    assert predict("--views", "1x1", "--from-list", "-") == 0
    assert capsys.readouterr().out.count("in/") == 2
    monkeypatch.setattr(sys, "stdin", None)
    assert predict("--from-list", "-") == 2
    assert "standard input is closed" in capsys.readouterr().err
    monkeypatch.chdir(here / "in")
    checkpoint = str(here / "model.safetensors")
    assert main(["predict", "--checkpoint", checkpoint, "--views", "1x1", "--", "-dash.mp4"]) == 0
    assert "-dash.mp4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "in/a.mp4", "--checkpoint", "none.ckpt"], "none.ckpt"),
        (["predict", "--checkpoint", "model.safetensors"], "no video given"),
        (["predict", "in", "--checkpoint", "model.safetensors", "--shard", "0/2"], "FILE.jsonl"),
        (["predict", "in", "--checkpoint", "model.safetensors", "--resume"], "--resume needs"),
        (["predict", "in", "--checkpoint", "model.safetensors", "--labels", "x"], "class names"),
        (["predict", "in", "--checkpoint", "model.safetensors", "--device", "x"], "device 'x'"),
        (
            ["predict", "in/a.mp4", "--checkpoint", "model.safetensors", "--device", "meta"],
            "'meta'",
        ),
        (["predict", "in", "--checkpoint", "in/notes.txt"], "notes.txt"),
        (["predict", "--checkpoint", "model.safetensors", "--from-list", "x"], "--from-list x"),
    ],
)
def test_bad_usage_is_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--views", "3x"], "CLIPSxCROPS"),
        (["--shard", "2/2"], "RANK/SIZE"),
        (["--views", "10x2"], "crops are 1 or 3"),
        (["--top-k", "0"], "from 1 to"),
        (["--topk", "3"], "--topk"),
        (["--max-views-per-forward", "99999999999999999999"], "from 1 to 1000000000"),
        (["--time-limit", "1e300"], "from 0 to 1000000000"),
    ],
)
def test_wrong_options(
    here: Path, capsys: pytest.CaptureFixture[str], option: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        predict("in/a.mp4", *option)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_a_folder_without_videos(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(str(tmp_path)) == 1
    assert "no video in this folder" in capsys.readouterr().err
