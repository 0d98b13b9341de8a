"""``videonl demo`` = ``make demo``: all steps on a small data set that it makes itself.

Every step is a command that a user could type; the demo prints it and calls it.
"""

import argparse
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from subprocess import PIPE, STDOUT, Popen
from threading import Thread
from typing import Any

from videonl.claims import claimed
from videonl.cli.main import COMMANDS, make_parser
from videonl.errors import VideoNLError
from videonl.escapes import json_text
from videonl.files import write_text
from videonl.limits import SEED
from videonl.shares import percent

CONFIG = Path("configs/sample.yaml")
# The baseline: the same trunk without the block, made wider until it costs as much.
PLAIN = {"name": "tiny_i3d_333", "options.width": "15", "options.non_local": "{}"}
DATA, QUICK_DATA = Path("data/sample/videos"), Path("data/sample/quick")
# Enough to walk every step in seconds, not to learn anything.
QUICK_CLIPS = ["--train", "24", "--val", "6", "--test", "6"]
QUICK_TRAINING = ["--trainer.max_epochs", "1"]
HELD_OUT = "test_00001.mp4"  # a fixed one, so that the answer is not picked
STEPS = 4


class Story:
    """Prints, runs and times the commands of the demo."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def step(self, title: str, name: str, argv: Sequence[str]) -> None:
        """Run ``videonl NAME ARGV``.

        Raises:
            VideoNLError: the command failed.
        """
        self._show(title, [(name, argv)])
        start = time.perf_counter()
        code = import_module(COMMANDS[name][0]).main(list(argv))
        self._end(title, start, code)

    def train(self, title: str, trainings: Mapping[str, Sequence[str]]) -> None:
        """Run ``train.py ARGV`` of every name at the same time, each with its share of the cores.

        A small network gains little from a second core: side by side they end earlier.

        Raises:
            VideoNLError: one of them failed.
        """
        self._show(title, [("train", argv) for argv in trainings.values()])
        start = time.perf_counter()
        processes = Processes({name: ["train", *argv] for name, argv in trainings.items()})
        self._end(title, start, processes.wait())

    def _show(self, title: str, commands: Sequence[tuple[str, Sequence[str]]]) -> None:
        typed = {"train": "python train.py", "predict": "python infer.py"}
        print(f"\n[{len(self.seconds) + 1}/{STEPS}] {title}")
        for name, argv in commands:
            print(f"$ {typed.get(name, f'videonl {name}')} {shlex.join(argv)}")
        print(flush=True)

    def _end(self, title: str, start: float, code: int) -> None:
        self.seconds[title] = round(time.perf_counter() - start, 1)
        if code:
            raise VideoNLError(f"the step {title!r} ended with exit code {code}")


class Processes:
    """Commands ``videonl ARGV`` that run at the same time; their lines are printed with a name."""

    def __init__(self, commands: Mapping[str, Sequence[str]]) -> None:
        import torch

        threads = str(max(1, torch.get_num_threads() // len(commands)))
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}
        self.lines: SimpleQueue[tuple[str, str | None]] = SimpleQueue()
        self.processes = {
            name: Popen(
                [sys.executable, "-m", "videonl.cli.main", *argv], env=environment, stdout=PIPE,
                stderr=STDOUT, encoding="utf-8", errors="replace", start_new_session=True,
            )
            for name, argv in commands.items()
        }  # fmt: skip
        self.talking, self.code = len(self.processes), 0
        for name in self.processes:
            Thread(target=self._listen, args=[name], daemon=True).start()

    def wait(self) -> int:
        """The exit code of the first that fails, or 0.

        All end where one fails, or where a signal ends this process.
        """
        try:
            self._print_lines()
        except KeyboardInterrupt as stop:
            self._send(getattr(stop, "exit_code", 128 + signal.SIGINT) - 128)
            self._print_lines()
            raise
        finally:
            for process in self.processes.values():
                process.kill()
        return self.code

    def _listen(self, name: str) -> None:
        for line in self.processes[name].stdout or ():
            self.lines.put((name, line))
        self.lines.put((name, None))

    def _print_lines(self) -> None:
        while self.talking:
            name, line = self.lines.get()
            if line is not None:
                print(f"{name:<9} | {line}", end="", flush=True)
                continue
            self.talking -= 1
            if (code := self.processes[name].wait()) and not self.code:
                self.code = code
                self._send(signal.SIGTERM)

    def _send(self, number: int) -> None:
        for process in self.processes.values():
            process.send_signal(number)


def newest_run(folder: Path) -> Path:
    """The run that was just made: the newest folder below ``out/NAME``."""
    return max((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.name)


def held_out_video(root: Path) -> Path:
    """The video that is classified in the end; its folder is its class."""
    return next(root.glob(f"test/*/{HELD_OUT}"))


def training_flags(root: Path, out: Path, *, name: str, seed: int, quick: bool) -> list[str]:
    """Arguments of ``train.py`` for one network."""
    flags = ["fit", "--config", str(CONFIG), "--data.root", str(root), "--out", str(out)]
    flags += ["--name", name, "--seed", str(seed), "--trainer.precision", "32-true"]
    if name == "plain":
        flags += [text for key, value in PLAIN.items() for text in (f"--model.{key}", value)]
    return flags + (QUICK_TRAINING if quick else [])


def summary(report: Path, seconds: dict[str, float], video: Path) -> dict[str, Any]:
    """What was measured, for ``demo.json``."""
    compared = json.loads((report / "compare.json").read_text(encoding="utf-8"))
    held_out = json.loads((report / "held_out.json").read_text(encoding="utf-8"))
    kept = ("params", "macs_per_view", "flops_per_view", "non_local_macs_per_view", "top1")
    return {
        "seconds": seconds,
        "total_seconds": round(sum(seconds.values()), 1),
        "networks": {row["name"]: {k: row[k] for k in kept} for row in compared["rows"]},
        "paired_tests": compared["paired_tests"],
        "data": compared["protocol"]["data"],
        "environment": compared["protocol"]["environment"],
        "held_out": {
            "video": str(video),
            "class": video.parent.name,
            "answers": held_out["predictions"][0]["classes"],
        },
    }


def print_end(facts: dict[str, Any], report: Path, runs: dict[str, Path]) -> None:
    """Print the results and the paths of the files."""
    held_out = facts["held_out"]
    answer, right = held_out["answers"][0], held_out["class"]
    verdict = "right" if answer["class"] == right else f"wrong, it is {right!r}"
    print(f"\nheld out     {held_out['video']}")
    print(f"answer       {answer['class']!r} ({percent(answer['probability'])}): {verdict}")
    for name, network in facts["networks"].items():
        top1, cost = network["top1"], f"{network['macs_per_view'] / 1e9:.3f} GMACs per view"
        print(f"{name:<12} {percent(top1['value'], top1['total'])} of the test videos, {cost}")
        print(f"{'':<12} {runs[name] / 'best.ckpt'}")
    print(f"report       {report}/compare.html (and .md, .csv, .json, .png)")
    print(f"time         {facts['total_seconds'] / 60:.1f} minutes")


def main(argv: Sequence[str]) -> int:
    """Data, two trainings, the comparison, one video."""
    parser = make_parser(
        "videonl demo",
        "Make a small data set, train a non-local and a plain network on it, compare them, and "
        "classify a video that was held out.",
    )
    parser.add_argument("--root", type=Path, help=f"folder of the sample data (default {DATA})")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the results")
    parser.add_argument("--seed", type=SEED, default=0, help="random seed of the trainings")
    parser.add_argument(
        "--quick", action="store_true", help="do all steps with few clips and one epoch"
    )
    given = parser.parse_args(argv)
    if not CONFIG.is_file():
        raise VideoNLError(f"there is no {CONFIG} here: run the demo in a clone of the repository")
    with claimed(folder=given.out):
        return tell(given)


def tell(given: argparse.Namespace) -> int:
    """The four steps."""
    root = given.root or (QUICK_DATA if given.quick else DATA)
    out, report, story = given.out, given.out / "report", Story()
    clips = QUICK_CLIPS if given.quick else []
    story.step("Write the sample data set", "sample", ["--root", str(root), *clips])
    flags = {
        name: training_flags(root, out, name=name, seed=given.seed, quick=given.quick)
        for name in ("non_local", "plain")
    }
    story.train("Train a small non-local I3D, and beside it the plain baseline", flags)
    runs = {name: newest_run(out / name) for name in flags}
    entries = [f"{name}={run / 'best.ckpt'}" for name, run in runs.items()]
    compare = ["--data", str(root), "--views", "1x1", "--out", str(report)]
    story.step("Compare them on the test split", "compare", [*entries, *compare])
    video = held_out_video(root)
    checkpoint = str(runs["non_local"] / "best.ckpt")
    predict = [str(video), "--checkpoint", checkpoint, "--views", "1x1"]
    predict += ["--json", str(report / "held_out.json")]
    story.step("Classify a video that was held out", "predict", predict)
    facts = summary(report, story.seconds, video)
    write_text(out / "demo.json", json_text(facts, indent=1, ascii=True) + "\n")
    print_end(facts, report, runs)
    return 0
