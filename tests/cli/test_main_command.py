"""The command table, its errors, and the doctor."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from videonl import __version__
from videonl.cli.main import COMMANDS, main, make_parser, run
from videonl.errors import VideoNLError

ROOT = Path(__file__).resolve().parents[2]


HELP = """\
import contextlib, io, json, sys
from videonl.cli.main import main
said = {}
for command in sys.argv[1:]:
    out, code = io.StringIO(), None
    with contextlib.redirect_stdout(out):
        try: code = main([command, "--help"])
        except SystemExit as end: code = end.code
    said[command] = (code, out.getvalue(), "torch" in sys.modules)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, tuple[int, str, bool]]:
    """What one process says that is asked for the help of every command: code, text, torch."""
    command = [sys.executable, "-c", HELP, *COMMANDS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_answers_without_torch(
    command: str, helps: dict[str, tuple[int, str, bool]]
) -> None:
    code, text, torch = helps[command]
    assert code == 0
    assert "usage" in text.lower()
    assert "`" not in text, "markup"
    assert not torch, f"the help of {command}, or of one before it, imports torch"


def test_errors_name_the_script_that_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "fitt"], script="train.py") == 2
    with pytest.raises(SystemExit):
        main(["predict", "--foo"], script="infer.py")
    typed, flag = capsys.readouterr().err.splitlines()
    assert typed.startswith("train.py: error: unknown command 'fitt'")
    assert flag.startswith("infer.py: error: --foo is not an option")
    assert flag.endswith("(infer.py --help lists the options)")
    assert main(["train", "fitt"]) == 2
    assert capsys.readouterr().err.startswith("videonl train: error: ")


def test_no_arguments_prints_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


def test_unknown_command_suggests_the_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["comapre"]) == 2
    assert "did you mean 'compare'?" in capsys.readouterr().err


def test_a_folder_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for command in ("models", "predict"):
        assert main([command]) == 2
        assert "error: the current folder was removed" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"videonl {__version__}\n"


def test_bad_input_is_one_sentence_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def command(argv: object) -> int:
        raise VideoNLError("clip.mp4 is empty; download it again")

    assert run(command, [], "videonl x") == 2
    assert capsys.readouterr().err == "videonl x: error: clip.mp4 is empty; download it again\n"


def test_interrupt_is_one_word_and_130(capsys: pytest.CaptureFixture[str]) -> None:
    def command(argv: object) -> int:
        raise KeyboardInterrupt

    assert run(command, [], "videonl x") == 130
    assert capsys.readouterr().err == "videonl x: stopped\n"


def test_doctor_is_content_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "no problems found" in capsys.readouterr().out


def test_doctor_names_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("videonl.cli.doctor.REQUIRED", ("torch", "no-such-package"))
    assert main(["doctor"]) == 1
    assert "pip install no-such-package" in capsys.readouterr().out


def test_doctor_warns_of_malicious_releases(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("videonl.cli.doctor.version", lambda _: "2.6.2")
    assert main(["doctor"]) == 1
    assert "malicious" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--checkpont", "x"], "--checkpont is not an option; did you mean --checkpoint?"),
        (["--check", "x"], "--check is not an option"),  # abbreviations are refused
        ([], "--checkpoint"),
        (["--checkpoint", "a", "--", "--b"], "unrecognized arguments"),
    ],
)
def test_wrong_flags_are_one_sentence(
    argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = make_parser("x", "x")
    parser.add_argument("--checkpoint", required=True)
    with pytest.raises(SystemExit) as end:
        parser.parse_args(argv)
    shown = capsys.readouterr().err
    assert end.value.code == 2
    assert sentence in shown
    assert shown.count("\n") == 1
