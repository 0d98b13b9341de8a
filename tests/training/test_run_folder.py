"""What lies in the folder of a run, read back: logs, summary, census, and its licence."""

import json
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main
from videonl.data import census_of, read_catalogue
from videonl.models import create_model
from videonl.training import VideoClassifier, read_metrics
from videonl.weights import LoadedModel, save_checkpoint

LICENCE = "CC BY-NC 4.0"
WATCHED = {
    *("lr/base", "lr/new", "train/loss", "train/epoch_loss", "train/top1"),
    *("val/loss", "val/top1", "val/macro", "val/majority"),
    *("speed/clips_per_second", "speed/data_wait", "memory/peak_gib"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_small_data(tmp_path_factory.mktemp("folder"), train=2, val=1)
    (root / "val" / "empty").mkdir()
    (root / "train" / "empty").mkdir()
    (root / "train" / "dark" / "bad.mp4").write_text("no video")
    (root / "videonl_skip.tsv").write_text("train/dark/bad.mp4\tnot a video\n")
    return root


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fine-tuned from weights with a licence."""
    folder = tmp_path_factory.mktemp("published")
    net = create_model("tiny_i3d", num_classes=4, width=8)
    published = folder / "published.safetensors"
    about = {"licence": LICENCE}
    save_checkpoint(LoadedModel(net, None, dict(net.preprocessing)), published, provenance=about)
    flags = [*FLAGS, "--model.name", "tiny_i3d_nl1", "--model.pretrained", str(published)]
    flags += ["--trainer.accelerator", "cpu", "--trainer.max_epochs", "2", "--name", "x"]
    flags += ["--trainer.log_every_n_steps", "1", "--out", str(folder)]
    assert main(["train", "fit", "--data.root", str(data), *flags]) == 0
    return next(folder.glob("x/*"))


def test_tensorboard_and_csv_hold_the_same(run: Path) -> None:
    rows = read_metrics(run / "metrics.csv")
    events = EventAccumulator(str(run))
    events.Reload()
    assert {key for row in rows for key in row} >= WATCHED
    assert set(events.Tags()["scalars"]) >= WATCHED
    for key in WATCHED:
        written = [row[key] for row in rows if key in row]
        assert [event.value for event in events.Scalars(key)] == pytest.approx(written, rel=1e-5)
        assert written
    assert all(0 <= row["speed/data_wait"] <= 1 for row in rows if "speed/data_wait" in row)
    assert all(
        row["lr/new"] == pytest.approx(10 * row["lr/base"]) for row in rows if "lr/new" in row
    )


def test_the_summary_and_its_pictures(run: Path) -> None:
    text = (run / "summary.md").read_text()
    assert f"(licence of those weights: {LICENCE})" in text
    assert "baseline: always the most frequent class | 50 %" in text
    assert "| train | 5 | 4 | 0 | 1 |" in text
    assert "| empty | 0 | no videos |" in text
    for name in ("curves.png", "confusion.png"):
        assert f"]({name})" in text
        assert (run / name).read_bytes().startswith(b"\x89PNG")


def test_the_census_counts_per_class(run: Path, data: Path) -> None:
    census = json.loads((run / "census.json").read_text())
    assert census["train"]["classes"]["dark"] == {"found": 2, "missing": 0, "unreadable": 1}
    assert census["train"]["classes"]["empty"]["found"] == 0
    assert census["train"]["listed"] == 5
    listed = data.parent / "listed"
    listed.mkdir(exist_ok=True)
    lines = [f"{data / 'val' / 'dark' / '0.mp4'},dark", "gone.mp4,light"]
    (listed / "train.csv").write_text("\n".join(lines) + "\n")
    counted = census_of(read_catalogue(listed, lists={"train": str(listed / "train.csv")}))
    assert counted["train"]["classes"]["light"] == {"found": 0, "missing": 1, "unreadable": 0}


def test_the_licence_travels_into_what_is_trained_and_predicted(
    run: Path, data: Path, tmp_path: Path
) -> None:
    about = torch.load(run / "last.ckpt", weights_only=True)["hyper_parameters"]
    assert about["licence"] == LICENCE
    assert about["provenance"].endswith("published.safetensors")
    again = VideoClassifier("tiny_i3d_nl1", num_classes=5, pretrained=str(run / "last.ckpt"))
    assert again.hparams["licence"] == LICENCE
    file = tmp_path / "answer.json"
    video = str(data / "val" / "dark" / "0.mp4")
    flags = ["--checkpoint", str(run), "--views", "1x1", "--device", "cpu", "--json", str(file)]
    assert main(["predict", video, *flags]) == 0
    text = file.read_text()
    assert f'"licence": "{LICENCE}"' in text
    assert "published.safetensors" in text
    result = tmp_path / "result.json"
    flags = ["--checkpoint", str(run), "--data.root", str(data), *FLAGS, "--split", "val"]
    flags += ["--json", str(result), "--trainer.accelerator", "cpu"]
    assert main(["train", "test", *flags]) == 0
    content = json.loads(result.read_text())
    assert content["model"]["licence"] == LICENCE
    assert content["data_census"]["train"]["classes"]["dark"]["unreadable"] == 1
