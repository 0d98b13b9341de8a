import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.inference.networks import NAMES, write_checkpoint
from tests.videos import write_video
from videonl.cli.main import main
from videonl.cli.predict import parse_views

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.mp4, sub/b.AVI, -dash.mp4, notes.txt, and model.safetensors."""
    folder = tmp_path_factory.mktemp("predict")
    write_checkpoint(folder)
    write_video(folder / "in/a.mp4", 30)
    write_video(folder / "in/sub/b.avi", 20, codec="mpeg4").rename(folder / "in/sub/b.AVI")
    write_video(folder / "in/-dash.mp4", 20)
    (folder / "in/notes.txt").write_text("no video")
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def predict(*arguments: str) -> int:
    return main(["predict", "--checkpoint", "model.safetensors", "--device", "cpu", *arguments])


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
    first, second = capsys.readouterr().out.split()
    assert {first, second} <= set(NAMES)


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


def test_json_says_class_probability_frames_seconds_model_and_protocol(
    here: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new/out.json"
    assert predict("in", "--views", "2x3", "--top-k", "2", "--json", str(output)) == 0
    content = json.loads(output.read_text())
    assert content["protocol"]["views"] == "2x3"
    assert content["model"]["checkpoint"] == "model.safetensors"
    assert [entry["path"] for entry in content["predictions"]] == [
        "in/-dash.mp4",
        "in/a.mp4",
        "in/sub/b.AVI",
    ]
    entry = content["predictions"][1]
    assert [sorted(choice) for choice in entry["classes"]] == [["class", "probability"]] * 2
    assert [view["crops"] for view in entry["views"]] == [3, 3]
    for view in entry["views"]:
        assert view["seconds"] == pytest.approx([frame / 25 for frame in view["frames"]])
    assert content["failures"] == []
    assert [path.name for path in output.parent.iterdir()] == ["out.json"], "no temporary files"


def test_csv_has_a_row_per_file(here: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    assert predict("in/a.mp4", "gone.mp4", "--views", "1x1", "--csv", str(output)) == 1
    rows = list(csv.DictReader(output.open(newline="")))
    assert {row["path"]: row["error"] for row in rows} == {
        "in/a.mp4": "",
        "gone.mp4": "no such file",
    }
    good = rows[1]
    assert good["class_1"] in NAMES
    assert 0 < float(good["probability_1"]) <= 1
    assert list(rows[0])[-1] == "probability_3", "no more columns than classes"


@pytest.mark.parametrize("name", ["out.json", "out.jsonl", "out.csv"])
def test_resume_skips_what_is_there_and_tries_failures_again(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    output, late = tmp_path / name, tmp_path / "late.mp4"
    option = "--csv" if name.endswith(".csv") else "--json"
    common = ["--views", "1x1", option, str(output)]
    assert predict("in/a.mp4", str(late), *common) == 1
    before = output.read_text()
    write_video(late, 12)
    if name != "out.json":  # an interrupted run leaves half a line behind
        with output.open("a") as file:
            file.write('{"path": "in/sub')
    capsys.readouterr()
    assert predict("in/a.mp4", str(late), "in/sub", *common, "--resume") == 0
    out, err = capsys.readouterr()
    assert "in/a.mp4" not in out
    assert "1 of 3 were in the output already" in err
    after = output.read_text()
    assert after != before
    for path in ("in/a.mp4", str(late), "in/sub/b.AVI"):
        assert after.count(path + ('"' if option == "--json" else ",")) == 1, path
    assert "no such file" not in after


def test_resume_refuses_another_run(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, option in (("o.json", "--json"), ("o.jsonl", "--json"), ("o.csv", "--csv")):
        output = str(tmp_path / name)
        assert predict("in/a.mp4", "--views", "1x1", option, output) == 0
        assert predict("in/a.mp4", "--views", "2x1", option, output, "--resume") == 2
        assert "another protocol" in capsys.readouterr().err
    (tmp_path / "other.json").write_text("[]")
    assert predict("in/a.mp4", "--json", str(tmp_path / "other.json"), "--resume") == 2
    assert "not an output of videonl" in capsys.readouterr().err


def test_an_interrupted_run_leaves_a_valid_file_to_resume(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from videonl.inference.predictor import Predictor

    output, original, calls = tmp_path / "out.json", Predictor.view_probabilities, []

    def interrupted(self: Predictor, *arguments: object, **named: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *arguments, **named)

    monkeypatch.setattr(Predictor, "view_probabilities", interrupted)
    assert predict("in", "--views", "1x1", "--json", str(output)) == 130
    assert len(json.loads(output.read_text())["predictions"]) == 1
    monkeypatch.setattr(Predictor, "view_probabilities", original)
    assert predict("in", "--views", "1x1", "--json", str(output), "--resume") == 0
    assert len(json.loads(output.read_text())["predictions"]) == 3


def test_output_that_can_not_be_written_is_known_at_once(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option, name in (("--json", "in/a.mp4/x.json"), ("--csv", "in/a.mp4/x.csv")):
        assert predict("in/a.mp4", "--views", "1x1", option, name) == 2
        out, err = capsys.readouterr()
        assert f"{name} can not be written" in err
        assert out == ""


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
    monkeypatch.setattr(sys, "stdin", io.StringIO("in/a.mp4\n\n# no\nin/sub/b.AVI\n"))
    assert predict("--views", "1x1", "--from-list", "-") == 0
    assert capsys.readouterr().out.count("in/") == 2
    monkeypatch.chdir(here / "in")
    checkpoint = str(here / "model.safetensors")
    assert main(["predict", "--checkpoint", checkpoint, "--views", "1x1", "--", "-dash.mp4"]) == 0
    assert "-dash.mp4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "in/a.mp4", "--checkpoint", "none.ckpt"], "none.ckpt"),
        (["predict", "--checkpoint", "model.safetensors"], "no video given"),
        (["predict", "in", "--checkpoint", "model.safetensors", "--resume"], "--resume needs"),
        (["predict", "in", "--checkpoint", "model.safetensors", "--labels", "x"], "labels file"),
        (["predict", "in", "--checkpoint", "model.safetensors", "--device", "x"], "device 'x'"),
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
        (["--views", "3"], "CLIPSxCROPS"),
        (["--views", "10x2"], "crops are 1 or 3"),
        (["--top-k", "0"], "at least 1"),
        (["--topk", "3"], "--topk"),
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


def test_parse_views() -> None:
    assert parse_views("10x3") == (10, 3)
    assert parse_views("1×1") == (1, 1)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
@pytest.mark.parametrize("redirected", [True, False])
def test_progress_bar_and_output_do_not_mix(folder: Path, redirected: bool) -> None:
    control, terminal = os.openpty()
    command = [sys.executable, str(ROOT / "infer.py"), "in", "--checkpoint", "model.safetensors"]
    process = subprocess.Popen(
        [*command, "--views", "1x1"],
        cwd=folder,
        stdout=subprocess.PIPE if redirected else terminal,
        stderr=terminal,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(control, 4096)
        except OSError:  # the other side was closed
            break
        if not part:
            break
        shown += part
    os.close(control)
    out = process.stdout.read() if process.stdout else b""
    assert process.wait() == 0
    screen = shown.decode()
    assert "3/3 files" in screen
    assert "left" in screen
    table = out.decode() if redirected else screen
    assert table.count("in/sub/b.AVI") == 1
    assert ("in/sub/b.AVI" in screen) is not redirected
    if redirected:
        assert "\x1b" not in table, "no colours in a file"
    else:
        assert "━" in screen, "a drawn table"
        # A path never begins in the line of the bar.
        lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", screen))
        assert not [line for line in lines if "files" in line and "in/" in line]
