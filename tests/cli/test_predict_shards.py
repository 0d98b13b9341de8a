"""Two processes of ``videonl predict``, one killed, both started again, merged."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.inference.networks import write_checkpoint
from tests.test_claims import another_writes
from tests.videos import write_video
from videonl.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
COUNT = 14


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fourteen videos and a file that is none, and a checkpoint."""
    write_checkpoint(tmp_path)
    for number in range(COUNT):
        write_video(tmp_path / f"in/{number:02d}.mp4", 12 + number)
    (tmp_path / "in/broken.mp4").write_text("no video")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(output: str, *more: str) -> list[str]:
    words = ["predict", "in", "--checkpoint", "model.safetensors", "--device", "cpu", "--quiet"]
    words += ["--no-isolate"]
    return [*words, "--views", "2x1", "--json", output, *more]


def start(place: Path, words: list[str], **environment: str) -> subprocess.Popen[bytes]:
    own = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [sys.executable, "-m", *words], cwd=place, env=own, stdout=subprocess.DEVNULL
    )


def kill_after(process: subprocess.Popen[bytes], file: Path, lines: int) -> None:
    """``kill -9`` once the result file has that many lines."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists() and file.read_bytes().count(b"\n") >= lines:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


def resume_by_hand(place: Path) -> None:
    for rank in ("0", "1"):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", "2")):
                patch.setenv(name, value)
            main(command("out.jsonl", "--resume"))


def resume_by_torchrun(place: Path) -> None:
    torchrun = ["torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    again = start(place, [*torchrun, "-m", "videonl.cli.main", *command("out.jsonl", "--resume")])
    again.wait(timeout=500)


@pytest.mark.parametrize(
    "resume", [resume_by_hand, pytest.param(resume_by_torchrun, marks=pytest.mark.slow)]
)
def test_killed_started_again_and_merged(
    resume: Callable[[Path], None], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rank = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}
    first = place / "out.00001.jsonl"
    kill_after(start(place, ["videonl.cli.main", *command("out.jsonl")], **rank), first, 3)
    assert first.read_bytes().count(b"\n") >= 3
    with first.open("ab") as file:  # and within a line
        file.write(b'{"path": "in/13.mp4", "cla')
    assert main(["merge", "out.jsonl"]) == 1
    assert "process 0 wrote no result file" in capsys.readouterr().err

    resume(place)
    capsys.readouterr()
    assert main(["merge", "out.jsonl", "--csv", "out.csv"]) == 1  # the broken file failed
    out, err = capsys.readouterr()
    assert f"{COUNT} videos" in out
    assert "in/broken.mp4" in err

    assert main(command("alone.jsonl")) == 1
    lines = [
        json.loads(line) for line in Path("alone.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    merged = [
        json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert {line["path"]: line for line in merged[1:]} == {
        line["path"]: line for line in lines[1:]
    }, "each video once, to the last bit what one process says"
    assert len(merged) == len(lines) == COUNT + 2
    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == COUNT + 1


def test_a_set_that_still_grows_is_merged_so_far(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank in ("0", "2"):
        assert main(command("out.jsonl", "--shard", f"{rank}/3")) in (0, 1)
    Path("out.00001.jsonl").touch()
    files = [str(place / f"out.0000{rank}.jsonl") for rank in (1, 2)]
    with another_writes(files[0]), another_writes(files[1]):
        capsys.readouterr()
        assert main(["merge", "out.jsonl"]) == 1
    errors = capsys.readouterr().err
    for rank in (1, 2):
        assert f"process {rank} is still running: merge again when it has ended" in errors
    assert "no result yet: 5 videos\n" in errors
    assert "wrote no result file" not in errors
    assert main(["merge", "out.jsonl"]) == 2  # nobody writes the empty one any more


def test_a_shard_by_hand_takes_its_part(place: Path) -> None:
    assert main(command("out.jsonl", "--shard", "1/5")) == 0
    lines = [
        json.loads(line)
        for line in Path("out.00001.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [line["path"] for line in lines[1:]] == ["in/01.mp4", "in/06.mp4", "in/11.mp4"]
    assert lines[0]["set"]["files"] == COUNT + 1
    assert lines[0]["shard"] == {"rank": 1, "size": 5}
