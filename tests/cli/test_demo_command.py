"""``videonl demo``: every step runs at toy scale, through the commands that users type."""

import json
import signal
import sys
from importlib import import_module
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import pytest

from videonl.cli.main import main
from videonl.weights import load_checkpoint

REPOSITORY = Path(__file__).resolve().parents[2]


class Here:
    """The trainings in this process: two more that import torch would take longer than all else."""

    def __init__(self, commands):
        self.commands = commands

    def wait(self):
        return max(main(argv) for argv in self.commands.values())


@pytest.fixture(scope="module", params=["here", pytest.param("beside", marks=pytest.mark.slow)])
def finished(request, tmp_path_factory):
    """(exit code, folder of data, folder of results) of one quick demo."""
    folder = tmp_path_factory.mktemp("demo")
    flags = ["--root", str(folder / "data"), "--out", str(folder / "out")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
        clips = ["--train", "8", "--val", "3", "--test", "3"]
        patch.setattr("videonl.cli.demo.QUICK_CLIPS", clips)
        if request.param == "here":
            patch.setattr("videonl.cli.demo.Processes", Here)
        code = main(["demo", "--quick", *flags])
    return code, folder / "data", folder / "out"


def test_the_demo_ends_well(finished):
    assert finished[0] == 0


def test_report_and_checkpoints_lie_where_it_says(finished):
    _, _, out = finished
    for name in ("compare.json", "compare.csv", "compare.md", "compare.html", "held_out.json"):
        assert (out / "report" / name).stat().st_size > 0
    for name in ("non_local", "plain"):
        loaded = load_checkpoint(next((out / name).glob("*/best.ckpt")))
        assert loaded.class_names == ["opposite", "perpendicular", "same"]


def test_the_facts_are_complete(finished):
    _, data, out = finished
    facts = json.loads((out / "demo.json").read_text())
    assert len(facts["seconds"]) == 4
    networks = facts["networks"]
    assert networks.keys() == {"non_local", "plain"}
    assert networks["non_local"]["non_local_macs_per_view"] > 0
    assert networks["plain"]["non_local_macs_per_view"] == 0
    assert Path(facts["held_out"]["video"]).parent == data / "test" / facts["held_out"]["class"]
    assert len(facts["held_out"]["answers"]) == 3


def test_the_two_networks_cost_the_same(finished):
    facts = json.loads((finished[2] / "demo.json").read_text())
    macs = [network["macs_per_view"] for network in facts["networks"].values()]
    assert max(macs) < 1.1 * min(macs)


def test_outside_a_clone_it_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 2
    assert "in a clone" in capsys.readouterr().err


def test_commands_side_by_side_are_told_apart(capsys):
    demo = import_module("videonl.cli.demo")
    commands = {"non_local": ["--version"], "plain": ["train", "fitt"]}
    assert demo.Processes(commands).wait() == 2
    assert "plain     | videonl train: error: unknown command 'fitt'" in capsys.readouterr().out


@pytest.mark.slow
def test_a_signal_ends_both_trainings(tmp_path):
    command = [sys.executable, "-m", "videonl.cli.main", "demo", "--quick"]
    flags = ["--root", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    demo = Popen([*command, *flags], cwd=REPOSITORY, stdout=PIPE, stderr=STDOUT, text=True)
    said = []
    for line in demo.stdout:
        said.append(line)
        if line.startswith("non_local | network"):
            demo.send_signal(signal.SIGTERM)
    assert demo.wait() == 128 + signal.SIGTERM, said[-9:]
    assert {line[:9].strip() for line in said if " | " in line} >= {"non_local", "plain"}


@pytest.mark.slow
def test_a_training_that_fails_ends_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setitem(sys.modules["videonl.cli.demo"].PLAIN, "options.width", "fifteen")
    flags = ["--root", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    assert main(["demo", "--quick", *flags]) == 2
    said = capsys.readouterr()
    assert "plain     | " in said.out
    assert "fifteen" in said.out
    assert "ended with exit code 2" in said.err
