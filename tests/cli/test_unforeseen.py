"""No traceback but with --debug: the last resort of every command."""

import re
from pathlib import Path

import pytest

from tests.small_data import FLAGS, write_small_data
from videonl.cli import main as module
from videonl.cli.main import main


def broken(argv: object) -> int:
    raise KeyError("nobody\nforesaw")


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(module.COMMANDS, "doctor", (__name__, "broken"))
    monkeypatch.setattr(f"{__name__}.main", broken)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


run = main  # the name is patched above


@pytest.mark.usefixtures("fault")
def test_one_sentence_and_a_file_with_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 1
    text = capsys.readouterr().err
    assert len(text.splitlines()) == 1
    assert "unexpected error: KeyError: 'nobody\\nforesaw'" in text
    found = re.search(r"the trace is in (\S+)\)", text)
    assert found
    assert "in broken" in Path(found[1]).read_text(encoding="utf-8")


@pytest.mark.usefixtures("fault")
@pytest.mark.parametrize("way", ["flag", "variable"])
def test_debug_shows_the_trace(
    way: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if way == "variable":
        monkeypatch.setenv("VIDEONL_DEBUG", "1")
    assert run(["doctor", *(["--debug"] if way == "flag" else [])]) == 1
    text = capsys.readouterr().err
    assert "in broken" in text
    assert "the trace is above" in text
    assert not list(tmp_path.glob("videonl-error*"))


@pytest.mark.usefixtures("fault")
def test_nowhere_to_write(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(**_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("tempfile.mkstemp", refuses)
    assert run(["doctor"]) == 1
    assert "shown with --debug" in capsys.readouterr().err


def test_every_command_takes_debug(capsys: pytest.CaptureFixture[str]) -> None:
    for name in module.COMMANDS:
        with pytest.raises(SystemExit) if name != "train" else pytest.MonkeyPatch.context():
            main([name, "--debug", "--help"])
        assert "usage" in capsys.readouterr().out.lower(), name


@pytest.mark.usefixtures("fault")
def test_a_file_of_that_name_is_no_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--", "--debug"]) == 1
    assert "in broken" not in capsys.readouterr().err


def test_a_training_keeps_the_trace_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_small_data(tmp_path / "data")

    def training_step(*_: object) -> None:
        raise ZeroDivisionError("in a step")

    monkeypatch.setattr("videonl.training.classifier.VideoClassifier.training_step", training_step)
    small = ["--model.name", "tiny_i3d", "--model.options.width", "8", "--name", "x"]
    own = ["--data.root", str(data), "--out", str(tmp_path / "runs"), *FLAGS]
    assert main(["train", "fit", *own, *small, "--trainer.accelerator", "cpu"]) == 1
    text = capsys.readouterr().err
    (trace,) = tmp_path.glob("runs/x/*/error.txt")
    assert f"ZeroDivisionError: in a step (the trace is in {trace})" in text
    assert "Traceback" not in text
    assert "in training_step" in trace.read_text()
