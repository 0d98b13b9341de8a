"""``videonl sample`` and ``data/sample/prepare.py``."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from videonl.cli.main import main
from videonl.sample import read_sample

REPOSITORY = Path(__file__).resolve().parents[2]
SPLITS = ["--train", "3", "--val", "3", "--test", "3"]
SMALL = [*SPLITS, "--size", "64", "--frames", "8", "--distance", "16", "30", "--workers", "0"]


def test_the_command_writes_and_goes_on(tmp_path, capsys):
    root = str(tmp_path / "set")
    assert main(["sample", "--root", root, *SMALL]) == 0
    assert "9 clips written, 0 already there" in capsys.readouterr().out
    assert main(["sample", "--root", root, *SMALL]) == 0
    assert "0 clips written, 9 already there" in capsys.readouterr().out


def test_a_gap_and_what_is_related_are_of_the_data_set(tmp_path, capsys):
    root = str(tmp_path / "set")
    assert main(["sample", "--root", root, *SMALL, "--gap", "4", "--of", "colour"]) == 0
    assert read_sample(root)[0].gap == 4
    assert read_sample(root)[0].of == "colour"
    assert main(["sample", "--root", root, *SMALL]) == 2
    assert "gap=4 (asked: None), of=colour (asked: motion)" in capsys.readouterr().err
    assert main(["sample", "--root", root, *SMALL, "--gap", "5"]) == 2
    assert "give 0 to 4" in capsys.readouterr().err
    assert main(["sample", "--root", root, "--frames", "99999999"]) == 2
    assert "a clip has at most 268435456 pixels" in capsys.readouterr().err


def test_mixing_parameters_is_one_sentence_and_exit_code_2(tmp_path, capsys, monkeypatch):
    def prepare(*argv: str) -> int:
        monkeypatch.setattr(sys, "argv", ["prepare.py", *argv])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(REPOSITORY / "data/sample/prepare.py"), run_name="__main__")
        return end.value.code

    root = str(tmp_path / "set")
    assert prepare("--root", root, *SMALL) == 0
    capsys.readouterr()
    assert prepare("--root", root, *SMALL, "--seed", "7") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "seed=0 (asked: 7)" in error


def test_prepare_works_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, REPOSITORY / "data/sample/prepare.py", "--root", "set", *SMALL],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "set").rglob("*.mp4"))) == 9
