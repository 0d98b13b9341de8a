"""What a training and a test say: time, lines to paste, files that hold what was set and found."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Trainer

from tests.small_data import DATA, FLAGS, write_small_data
from videonl.cli.main import main
from videonl.data import VideoDataModule

SMALL = [*FLAGS, "--model.name", "tiny_i3d", "--model.options.width", "8", "--name", "of mine"]
SMALL += ["--recipe.optimizer", "adamw", "--trainer.accelerator", "cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("tells") / "da ta", train=3, val=1, test=1)


def test_a_training_tells_what_it_takes_and_what_comes_next(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = ["train", "fit", "--data.root", str(data), *SMALL, "--out", str(tmp_path / "ru ns")]
    fit += ["--trainer.max_epochs", "2", "--data.class_names_file", str(data / "na mes")]
    (data / "na mes").write_text("dark\nlight\n")
    assert main(fit) == 0
    said = capsys.readouterr().out
    assert re.search(r"^epoch 1/2 .*  \d+ s to go$", said, re.MULTILINE)
    assert re.search(r"^epoch 2/2 .*  [\d.]+ s$", said, re.MULTILINE)
    (diagnosis,) = re.findall(r"^learning .*$", said, re.MULTILINE)
    (run,) = (tmp_path / "ru ns" / "of mine").iterdir()
    settings = yaml.safe_load((run / "hparams.yaml").read_text())
    assert settings["data"]["frames"] == 4
    assert settings["recipe"]["optimizer"] == "adamw"

    (typed,) = re.findall(r"^next      videonl (.*)$", said, re.MULTILINE)
    words = shlex.split(typed)
    assert words[:2] == ["train", "test"]
    flags = [*FLAGS[FLAGS.index("--data.batch_size") :], "--trainer.accelerator", "cpu"]
    assert main([*words, *flags]) == 0
    said = capsys.readouterr().out
    assert "test: 2 videos, 6 views each" in said
    result = json.loads((run / "best_test_2x3.json").read_text())
    assert [Path(row["path"]).parent.name for row in result["videos"]] == ["dark", "light"]
    assert [row["class"] for row in result["videos"]] == ["dark", "light"]
    for row in result["videos"]:
        assert sum(row["probabilities"].values()) == pytest.approx(1)
        assert row["predicted"] == max(row["probabilities"], key=row["probabilities"].get)
    right = sum(row["predicted"] == row["class"] for row in result["videos"])
    assert result["scores"]["video_top1"] == right / 2
    assert (run / "best_test_2x3_confusion.png").is_file()

    assert main([*fit, "--resume", "auto"]) == 0
    said = capsys.readouterr().out
    assert "nothing left to do: the run has had its 2 epochs (raise --trainer.max_epochs" in said
    assert f"next      videonl {typed}" in said
    assert diagnosis in said


@pytest.mark.slow
def test_a_video_that_is_lost_has_no_answer(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_small_data(tmp_path / "data", train=1, val=1)
    (root / "val" / "dark" / "x.mp4").write_bytes(b"no video")
    fit = ["train", "fit", "--data.root", str(root), *SMALL, "--out", str(tmp_path / "runs")]
    assert main([*fit, "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"]) == 0
    (run,) = (tmp_path / "runs" / "of mine").iterdir()
    file = tmp_path / "r.json"
    test = ["train", "test", "--checkpoint", str(run), "--data.root", str(root), *FLAGS]
    assert main([*test, "--data.views", "1x1", "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["videos"]
    assert [row["predicted"] is None for row in rows] == [False, True, False]
    assert "x.mp4" in rows[1]["unread"]
    assert (tmp_path / "r_confusion.png").is_file()


@pytest.mark.slow
def test_the_same_few_batches_of_all_classes_are_overfitted(
    data: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    fit = ["train", "fit", "--data.root", str(data), *SMALL, "--out", str(tmp_path / "runs")]
    fit += ["--trainer.overfit_batches", "1", "--recipe.learning_rate", "0.05"]
    assert main([*fit, "--data.val", "none", "--trainer.max_epochs", "4"]) == 0
    (run,) = (tmp_path / "runs" / "of mine").iterdir()
    assert torch.load(run / "last.ckpt", weights_only=True)["global_step"] == 4
    module = VideoDataModule(str(data), **DATA)
    module.setup("fit")
    module.trainer = Trainer(overfit_batches=1, accelerator="cpu", logger=False)
    batches = [[batch["label"].tolist() for batch in module.train_dataloader()] for _ in range(2)]
    assert sorted(batches[0][0]) == [0, 1]
    assert batches[0] == batches[1]
    assert not [w for w in recwarn if "shuffling" in str(w.message)]
