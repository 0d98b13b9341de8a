"""Two processes, one output: the second is refused before it starts, and nothing is lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.marks import mostly_slow
from tests.small_data import FLAGS, write_small_data
from tests.videos import write_video
from videonl.claims import LOCK, claimed, is_first_process
from videonl.cli.main import main
from videonl.errors import OutputError, VideoNLError
from videonl.models import create_model
from videonl.training import new_run
from videonl.weights import LoadedModel, save_checkpoint

ROOT = Path(__file__).resolve().parents[1]


def hold(files: list[str], folder: str | None, held: Connection) -> None:
    """Claim, say so, and keep it until a signal comes."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with claimed(*files, folder=folder):
        held.send(True)
        time.sleep(60)


@contextmanager
def another_writes(*words: str) -> Iterator[BaseProcess]:
    """Another process that holds the files, or with ``-d`` the folder."""
    files, folder = ([], words[1]) if words[0] == "-d" else (list(words), None)
    fork = get_context("fork")
    here, there = fork.Pipe()
    process = fork.Process(target=hold, args=(files, folder, there), daemon=True)
    process.start()
    try:
        assert here.poll(60)
        yield process
    finally:
        process.kill()
        process.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claims")
    model = create_model("tiny_i3d", num_classes=2, width=8)
    shape = {"frames": 4, "stride": 2, "short_side": 36, "crop": 32}
    shape |= {"mean": [0.45] * 3, "std": [0.225] * 3}
    save_checkpoint(LoadedModel(model, ["dark", "light"], shape), folder / "model.safetensors")
    write_small_data(folder / "data", train=1, val=1, test=1)
    write_video(folder / "a.mp4", 20)
    return folder


WEIGHTS = ["--checkpoint", "model.safetensors"]
TEST = [*WEIGHTS, "--data.root", "data", *FLAGS, "--trainer.accelerator", "cpu"]
# What is held; the command that would write it.
MEMBERS = {
    "predict --csv": ("out", ["predict", "a.mp4", *WEIGHTS, "--csv", "out"]),
    "predict --json": ("out.json", ["predict", "a.mp4", *WEIGHTS, "--json", "out.json"]),
    "predict --json lines": ("o.jsonl", ["predict", "a.mp4", *WEIGHTS, "--json", "o.jsonl"]),
    "predict --report": ("o.html", ["predict", "a.mp4", *WEIGHTS, "--report", "o.html"]),
    "predict --plot": ("o.png", ["predict", "a.mp4", *WEIGHTS, "--timeline", "--plot", "o.png"]),
    "predict --windows-csv": (
        "w.csv",
        ["predict", "a.mp4", *WEIGHTS, "--timeline", "--windows-csv", "w.csv"],
    ),
    "predict --shard": (
        "o.00001.jsonl",
        ["predict", "a.mp4", *WEIGHTS, "--json", "o.jsonl", "--shard", "1/2"],
    ),
    "predict --overlay": ("o.mp4", ["predict", "a.mp4", *WEIGHTS, "--overlay", "o.mp4"]),
    "predict --overlay folder": ("-d burnt", ["predict", "data", *WEIGHTS, "--overlay", "burnt"]),
    "live --json": ("l.jsonl", ["live", "a.mp4", *WEIGHTS, "--json", "l.jsonl"]),
    "live --overlay": ("l.mp4", ["live", "a.mp4", *WEIGHTS, "--overlay", "l.mp4"]),
    "cross": ("-d crossed", ["cross", "data", "--folds", "2", "--out", "crossed", *FLAGS]),
    "merge": ("o.jsonl", ["merge", "o.jsonl"]),
    "merge --csv": ("o.csv", ["merge", "o.jsonl", "--csv", "o.csv"]),
    "extract": ("-d features", ["extract", "a.mp4", *WEIGHTS, "--out", "features"]),
    "extract --shard": (
        "features/videonl_extract.00000.jsonl",
        ["extract", "a.mp4", *WEIGHTS, "--out", "features", "--shard", "0/2"],
    ),
    "export": ("net.pt2", ["export", *WEIGHTS, "--format", "torch-export", "--out", "net.pt2"]),
    "convert": ("c.safetensors", ["convert", "model.safetensors", "c.safetensors"]),
    "compare": ("-d compared", ["compare", "tiny_i3d", "--no-speed", "--out", "compared"]),
    "attend": (
        "maps/a.res3.json",
        ["attend", "a.mp4", *WEIGHTS, "--block", "res3", "--out", "maps"],
    ),
    "attend --json": ("maps.json", ["attend", *WEIGHTS, "--data", "data", "--json", "maps.json"]),
    "sample": ("-d sample", ["sample", "--root", "sample", "--train", "1"]),
    "check": ("checked/videonl_check.jsonl", ["check", "data", "--out", "checked"]),
    "prepare": ("-d prepared", ["prepare", "data", "prepared"]),
    "test": ("model_test_2x3.json", ["train", "test", *TEST]),
    "test --json": ("t.json", ["train", "test", *TEST, "--json", "t.json"]),
    "validate --json": ("v.json", ["train", "validate", *TEST, "--json", "v.json"]),
    "train predict": ("model_predictions.csv", ["train", "predict", *TEST]),
    "train predict --json": ("p.jsonl", ["train", "predict", *TEST, "--json", "p.jsonl"]),
    "fit --resume": (
        "-d run",
        ["train", "fit", "--data.root", "data", *FLAGS, "--resume", "run/last.ckpt"],
    ),
}


def outputs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix != ".lock")


# One per command, and the kinds of outputs that are told apart: files, folders, shards.
TOLD = ("predict --csv", "predict --shard", "predict --overlay folder", "live --json", "cross")
TOLD += ("merge", "extract", "export", "convert", "compare", "attend", "sample", "check", "prepare")
TOLD += ("test --json", "train predict", "fit --resume")


@pytest.mark.parametrize("member", mostly_slow(MEMBERS, quick=TOLD))
def test_a_second_writer_is_refused(
    member: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    held, argv = MEMBERS[member]
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run/last.ckpt").touch()
    words = [word if word == "-d" else str(folder / word) for word in held.split()]
    with another_writes(*words) as other:
        before = outputs(folder)
        assert main(argv) == 2
        assert outputs(folder) == before
        error = capsys.readouterr().err
        (line,) = [line for line in error.splitlines() if "error" in line]
        assert f"is being written by another process ({other.pid})" in line
        assert held.split()[-1] in line
        assert "Traceback" not in error


def test_what_a_killed_process_left_blocks_nobody(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with another_writes(str(out)) as other:
        with pytest.raises(VideoNLError, match=r"out\.csv is being written"), claimed(out):
            pass
        other.kill()
        other.join()
        assert (tmp_path / ".out.csv.lock").exists()
        with claimed(out):
            pass
    assert list(tmp_path.iterdir()) == []


def test_sigterm_leaves_no_lock(tmp_path: Path) -> None:
    with another_writes("-d", str(tmp_path / "made")) as other:
        other.terminate()
        other.join()
        assert other.exitcode == -signal.SIGTERM
    assert not list(tmp_path.rglob(LOCK))


def test_a_link_is_the_file_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to("out.csv")
    with (
        another_writes(str(tmp_path / "out.csv")),
        pytest.raises(VideoNLError, match=r"link\.csv is being written"),
        claimed(tmp_path / "link.csv"),
    ):
        pass


def test_a_forked_child_holds_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with claimed(out):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with claimed(out):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_shards_share_a_folder_and_nobody_else_writes_it(tmp_path: Path) -> None:
    with claimed(folder=tmp_path, shared=True):
        code = f"from videonl.claims import claimed\nwith claimed(folder={str(tmp_path)!r}"
        for words, expected in ((", shared=True): pass", 0), ("): pass", 1)):
            done = subprocess.run(
                [sys.executable, "-c", code + words], cwd=ROOT, capture_output=True, check=False
            )
            assert done.returncode == expected, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_locks_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with claimed(tmp_path / "a/out.csv", folder=tmp_path / "b"):
        assert list(tmp_path.rglob("*.lock")) == []
    assert list(tmp_path.iterdir()) == []


def test_a_name_of_255_bytes_has_a_lock(tmp_path: Path) -> None:
    with claimed(tmp_path / ("n" * 251 + ".csv")):
        assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_without_permission_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    for words in ({"folder": tmp_path / "new"}, {}):
        with (
            pytest.raises(OutputError, match="cannot be written"),
            claimed(*([] if words else [tmp_path / "a.csv"]), **words),
        ):
            pass
    assert not any(tmp_path.iterdir())
    with claimed(folder=tmp_path, shared=True):  # such as a cache that is read
        pass


def test_what_nobody_owns_is_not_claimed() -> None:
    with claimed("/dev/null", "-", None):
        pass
    assert not Path("/dev/.null.lock").exists()


def test_trainings_of_the_same_second_have_their_own_folders(tmp_path: Path) -> None:
    now = datetime(2026, 1, 2, 3, 4, 5)
    first, second = (new_run(tmp_path, "name", now=now) for _ in range(2))
    assert (first.name, second.name) == ("2026-01-02_03-04-05", "2026-01-02_03-04-05-2")
    assert first.is_dir()
    assert second.is_dir()
    assert not new_run(tmp_path, "name", now=now, make=False).exists()


def test_which_process_talks() -> None:
    assert is_first_process({})
    assert is_first_process({"RANK": "0", "LOCAL_RANK": "0", "SLURM_PROCID": "0"})
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"):
        assert not is_first_process({name: "1"})
