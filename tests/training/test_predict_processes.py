"""``train.py predict`` in two gloo processes: killed, started again, merged."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main
from videonl.models import create_model
from videonl.weights import LoadedModel, save_checkpoint

ROOT = Path(__file__).resolve().parents[2]
VIDEOS = 10
SHAPE = {"frames": 4, "stride": 2, "short_side": 36, "crop": 32}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    data = write_small_data(tmp_path / "data", train=1, val=1, test=VIDEOS // 2)
    (data / "test/dark/1none.mp4").write_text("no video")
    model = create_model("tiny_i3d", num_classes=2, width=8)
    pixels = {"mean": [0.45] * 3, "std": [0.225] * 3}
    checkpoint = tmp_path / "model.safetensors"
    save_checkpoint(LoadedModel(model, ["dark", "light"], {**SHAPE, **pixels}), checkpoint)
    return ["--checkpoint", str(checkpoint), "--data.root", str(data), *FLAGS, "--split", "test"]


def predict_in_two(words: list[str], output: Path) -> None:
    own = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    own += ["--json", str(output)]
    command = [sys.executable, "train.py", "predict", *words, *own]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode in (0, 1), done.stderr[-2000:]


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_killed_started_again_and_merged(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out, alone = tmp_path / "out.jsonl", tmp_path / "alone.jsonl"
    predict_in_two(words, out)
    parts = [tmp_path / f"out.0000{rank}.jsonl" for rank in (0, 1)]
    assert [len(lines(part)) for part in parts] == [7, 6], "a header and every second file"
    first = parts[0].read_bytes()
    parts[0].write_bytes(first[: len(first) * 2 // 3])  # killed within a line
    before = parts[1].read_bytes()
    predict_in_two(words, out)  # the second has nothing left to do, and nobody waits for it
    assert parts[1].read_bytes() == before
    assert main(["merge", str(out)]) == 1
    assert "1none.mp4" in capsys.readouterr().err
    own = ["--trainer.accelerator", "cpu", "--trainer.devices", "1", "--json", str(alone)]
    assert main(["train", "predict", *words, *own]) == 1
    merged, single = lines(out), lines(alone)
    assert len(merged) == len(single) == VIDEOS + 2
    by_path = {str(line["path"]): line for line in single[1:]}
    for line in merged[1:]:
        if "error" not in line:
            assert line["classes"] == by_path[str(line["path"])]["classes"]
    assert single[0]["protocol"] == merged[0]["protocol"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_table_of_two_processes_is_in_the_order_of_the_videos(
    tmp_path: Path, words: list[str]
) -> None:
    tables = [tmp_path / "1.csv", tmp_path / "2.csv"]
    for count, table in enumerate(tables, 1):
        own = ["--trainer.accelerator", "cpu", "--trainer.devices", str(count), "--csv", str(table)]
        own += ["--trainer.strategy", "ddp"] if count > 1 else []
        command = [sys.executable, "train.py", "predict", *words, *own]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert "1none.mp4" in done.stderr  # which is left out
    paths = [[row["path"] for row in csv.DictReader(table.open(newline=""))] for table in tables]
    assert len(paths[0]) == VIDEOS
    assert paths[1] == paths[0]


def test_json_of_predict_must_be_lines(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "predict", *words, "--json", "x.json"]) == 2
    assert "JSON Lines" in capsys.readouterr().err
