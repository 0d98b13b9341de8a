"""SIGTERM and SIGHUP end a command as Ctrl-C does: one sentence, 128 + the signal, whole files."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.checkpoints import write_ckpt
from tests.small_data import FLAGS, write_small_data
from tests.videos import write_video
from videonl.cli.main import main, run
from videonl.training import VideoClassifier

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
CPU = ["--trainer.accelerator", "cpu"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("signals")
    write_small_data(place / "data", train=1, val=2, test=2)
    write_ckpt(place / "net.ckpt")
    return place


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Every command leaves the signals as it found them."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


def kill(number: int) -> Callable[..., int]:
    def act(*_: Any) -> int:
        os.kill(os.getpid(), number)
        time.sleep(10)  # a signal is heard between two lines of Python
        return 0

    return act


@pytest.mark.parametrize("number", SIGNALS)
def test_one_sentence(number: int, capsys: Capture) -> None:
    assert run(kill(number), [], "videonl x") == 128 + number
    assert capsys.readouterr().err == "videonl x: stopped\n"


def test_nohup_is_heard(capsys: Capture) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(lambda _: os.kill(os.getpid(), signal.SIGHUP) or 7, [], "videonl x") == 7
    finally:
        signal.signal(signal.SIGHUP, before)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("command", "hook", "number"),
    [
        ("test", "test_step", signal.SIGINT),
        ("validate", "test_step", signal.SIGTERM),
        ("predict", "predict_step", signal.SIGTERM),
    ],
)
def test_evaluations(
    command: str,
    hook: str,
    number: int,
    place: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(VideoClassifier, hook, kill(number))
    out = ["--csv", str(tmp_path / "p.csv")] if command == "predict" else []
    out = out or ["--json", str(tmp_path / "t.json")]
    flags = [*FLAGS, *CPU, "--checkpoint", str(place / "net.ckpt"), *out]
    root = ["--data.root", str(write_three(place))]
    assert main(["train", command, *root, *flags]) == 128 + number
    assert capsys.readouterr().err == "videonl train: stopped\n"
    assert [path.name for path in tmp_path.iterdir()] in ([], ["p.csv"])  # rows so far


def write_three(place: Path) -> Path:
    """A data set of the checkpoint's three classes."""
    data = place / "three"
    for name in ("clap", "wave", "jump"):
        for split in ("val", "test"):
            if not (data / split / name / "0.mp4").exists():
                write_video(data / split / name / "0.mp4", 12)
    return data


def once_there(folder: Path, number: int) -> threading.Thread:
    """Send this process a signal once a file with something in it lies in a folder."""

    def watch() -> None:
        for _ in range(3000):
            found = [path for path in folder.rglob("[!.]*") if path.is_file()]
            if any(path.stat().st_size for path in found):
                os.kill(os.getpid(), number)
                return
            time.sleep(0.005)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["predict", "IN", "--checkpoint", "CKPT", "--csv", "OUT/p.csv"],
        ["predict", "IN", "--checkpoint", "CKPT", "--json", "OUT/p.json", "--no-isolate"],
        ["extract", "IN", "--checkpoint", "CKPT", "--out", "OUT"],
        ["check", "IN", "--out", "OUT"],
        ["prepare", "IN", "OUT/made", "--short-side", "32"],
        ["sample", "--root", "OUT", "--train", "2000"],
    ],
    ids=lambda words: words[0],
)
def test_what_is_written_is_whole(
    words: list[str], place: Path, tmp_path: Path, capsys: Capture
) -> None:
    one = write_video(place / "one.mp4", 30)
    many = place / "many"
    for number in range(150):
        many.mkdir(exist_ok=True)
        if not (many / f"{number}.mp4").exists():
            os.link(one, many / f"{number}.mp4")
    out = tmp_path / "out"
    out.mkdir()
    said = {"IN": str(many), "CKPT": str(place / "net.ckpt")}
    argv = [said.get(word, word.replace("OUT", str(out))) for word in words]
    thread = once_there(out, signal.SIGTERM)
    assert main(argv) == 128 + signal.SIGTERM
    thread.join()
    errors = capsys.readouterr().err
    assert errors.endswith(f"videonl {words[0]}: stopped\n")
    assert "Traceback" not in errors
    for path in out.rglob("*"):
        if path.is_file():
            assert not path.name.startswith("."), path
            if path.suffix == ".npz":
                assert all(np.load(path)[key].size for key in ("features",))
            if path.suffix == ".jsonl":
                assert all(map(json.loads, path.read_text(encoding="utf-8").splitlines()))
