"""Whatever encodes leaves the process, and all of its threads, with the ordinary scheduler."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.scheduling import real_time_threads
from tests.videos import write_video
from videonl.cli.main import main
from videonl.video import encode_file

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not os.path.isdir("/proc/self/task"), reason="reads the threads from Linux's /proc"
)


def test_what_the_commands_encode_with(tmp_path: Path) -> None:
    """``prepare`` and ``sample``, in this process; the fixture of conftest looks at the rest."""
    source = write_video(tmp_path / "1.mp4", 12)
    encode_file(source, tmp_path / "copy.mp4")
    small = ["--train", "1", "--val", "1", "--test", "0", "--size", "64", "--frames", "8"]
    small += ["--distance", "16", "30"]
    assert main(["sample", "--root", str(tmp_path / "set"), *small, "--workers", "0"]) == 0
    assert not real_time_threads()


def test_a_worker_computes_with_the_threads_it_was_given() -> None:
    """One, if nobody says another number."""
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])


def test_a_real_time_thread_is_found() -> None:
    """In a process of its own, which lasts no longer than the question."""
    code = (
        "import os, sys; from tests.scheduling import real_time_threads\n"
        "assert not real_time_threads()\n"
        "try: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))\n"
        "except PermissionError: sys.exit(77)\n"
        "print(list(real_time_threads().values()) == [os.SCHED_FIFO])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("no right to ask for real-time priority, so no encoder has it")
    assert done.stdout.strip() == "True", done.stderr


def test_only_known_encoders_are_asked_for() -> None:
    """The product and its benchmarks name two of pictures and one of sound, never SVT-AV1."""
    asked, chosen = [], []
    for folder in ("videonl", "benchmarks", "data", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            asked += re.findall(r"\.add_stream\(\s*([^,)]+)", text)
            chosen += re.findall(r"^ +codec = (\".*)$", text, re.M)
    assert set(asked) == {'"libx264"', '"aac"', "codec"}
    assert chosen == ['"libx264" if "libx264" in av.codecs_available else "mpeg4"']
