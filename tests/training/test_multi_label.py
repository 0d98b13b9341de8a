"""Several labels per video: from the list file to the checkpoint's answer."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.small_data import FLAGS
from tests.videos import write_video
from videonl.cli.main import main
from videonl.inference import Predictor
from videonl.models import average_logits, create_model, over_views, probabilities_of
from videonl.training import (
    MultiLabelMeter,
    VideoClassifier,
    average_precision,
    multi_hot,
    multi_label_loss,
    read_metrics,
)
from videonl.weights import LoadedModel, load_checkpoint, save_checkpoint

FIT = [
    *("--model.name", "tiny_i3d", "--model.options.width", "8", "--recipe.reference_batch", "2"),
    *("--recipe.mixup", "0.2", "--recipe.label_smoothing", "0.1", "--recipe.optimizer", "adamw"),
    *("--trainer.accelerator", "cpu", "--trainer.max_epochs", "2", "--name", "several"),
    *("--recipe.class_weights", "balanced", "--trainer.log_every_n_steps", "1"),
]


def write_listed_data(root: Path) -> Path:
    """Three classes: dark or light, and still or moving; every video has one to two of them."""
    random = np.random.default_rng(0)
    for split, number in (("train", 6), ("val", 4)):
        lines = ["path,labels"]
        for index in range(number):
            light, moving = index % 2, index // 2 % 2
            frames = random.normal(70 + 110 * light, 20, (12, 40, 48, 3))
            frames[:, :, ::2] += 40 * moving * np.arange(12)[:, None, None, None] % 3
            write_video(root / split / f"{index}.mp4", np.clip(frames, 0, 255).astype(np.uint8))
            names = ["light" if light else "dark"] + (["moving"] if moving else [])
            lines.append(f"{index}.mp4,{';'.join(names)}")
        (root / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_listed_data(tmp_path_factory.mktemp("several"))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    flags = [*FLAGS, *FIT, "--out", str(out)]
    assert main(["train", "fit", "--data.root", str(data), *flags]) == 0
    return next(out.glob("several/*"))


def test_the_labels_make_the_task_and_the_checkpoint_says_so(run: Path) -> None:
    content = torch.load(run / "best.ckpt", weights_only=True)
    assert content["hyper_parameters"]["multi_label"] is True
    assert content["hyper_parameters"]["class_names"] == ["dark", "light", "moving"]
    scores = [row["val/map"] for row in read_metrics(run / "metrics.csv") if "val/map" in row]
    assert len(scores) == 2
    kept = content["callbacks"]["Checkpoints"]
    assert kept["best_score"] == pytest.approx(max(scores))  # the best is the best by mAP
    summary = (run / "summary.md").read_text()
    assert "mean average precision" in summary
    assert "| moving | 2 |" in summary
    logged = {key for row in read_metrics(run / "metrics.csv") for key in row}
    assert {"train/hit1", "val/hit1", "val/prior", "val/loss"} <= logged
    assert "val/top1" not in logged


@pytest.mark.slow
def test_an_epoch_of_videos_without_labels_has_no_loss(data: Path, tmp_path: Path) -> None:
    """As a part of Charades may be."""
    root = tmp_path / "charades"
    shutil.copytree(data / "train", root / "videos")
    (root / "Charades_v1_classes.txt").write_text("c000 Holding\nc001 Eating\n")
    (root / "Charades_v1_train.csv").write_text("id,actions\n0,\n1,\n")
    (root / "Charades_v1_test.csv").write_text("id,actions\n2,c001 1.00 2.00\n")
    flags = [*FLAGS, *FIT, "--out", str(tmp_path), "--recipe.class_weights", "none"]
    assert main(["train", "fit", "--data.root", str(root), *flags]) == 0
    (run,) = tmp_path.glob("several/*")
    assert not [row for row in read_metrics(run / "metrics.csv") if "train/epoch_loss" in row]


def test_test_and_the_predictor_give_the_same_sigmoid_maxima(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, table = tmp_path / "result.json", tmp_path / "all.csv"
    common = ["--checkpoint", str(run), "--data.root", str(data), "--split", "val"]
    common += ["--data.num_workers", "0", "--data.views", "2x3", "--trainer.accelerator", "cpu"]
    common += ["--data.decoder", "pyav"]
    assert main(["train", "test", *common, "--json", str(file)]) == 0
    assert "video mAP" in capsys.readouterr().out
    result = json.loads(file.read_text())
    assert result["positives"] == {"dark": 2, "light": 2, "moving": 2}
    assert result["protocol"]["average"] == "sigmoid, maximum over views"
    assert main(["train", "predict", *common, "--csv", str(table)]) == 0
    predictor = Predictor.from_checkpoint(run, device="cpu")
    scores, truth = [], []
    for line in table.read_text().splitlines()[1:]:
        path, _, *values = line.split(",")
        found = predictor.predict(path, views=(2, 3), top_k=3)
        named = dict(zip(found.classes, found.probabilities, strict=True))
        expected = [named[name] for name in ("dark", "light", "moving")]
        assert [float(value) for value in values] == pytest.approx(expected, abs=1e-5)
        assert found.protocol["average"] == "sigmoid, maximum over views"
        index = int(Path(path).stem)
        truth.append([index % 2 == 0, index % 2 == 1, index // 2 % 2 == 1])
        scores.append(expected)
    each = [
        average_precision(torch.tensor(scores)[:, k], torch.tensor(truth)[:, k]) for k in range(3)
    ]
    assert result["scores"]["video_map"] == pytest.approx(sum(v or 0 for v in each) / 3)


def test_the_task_survives_conversion(tmp_path: Path) -> None:
    net = create_model("tiny_i3d", num_classes=3, width=8)
    path = tmp_path / "a.safetensors"
    save_checkpoint(LoadedModel(net, None, dict(net.preprocessing), multi_label=True), path)
    assert load_checkpoint(path).multi_label
    assert VideoClassifier.from_checkpoint(path).multi_label


def test_loss_is_torchs() -> None:
    logits, targets = torch.randn(4, 3), torch.randint(0, 2, (4, 3)).float()
    loss, losses = multi_label_loss(logits, targets)
    assert torch.allclose(loss, F.binary_cross_entropy_with_logits(logits, targets))
    assert losses.shape == (4,)
    weights = torch.tensor([1.0, 2.0, 0.0])
    weighted, _ = multi_label_loss(logits, targets, class_weights=weights)
    each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    assert torch.allclose(weighted, (each * weights / 3).sum(1).mean())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert multi_label_loss(logits, targets, class_weights=weights)[0] == weighted
    smooth, _ = multi_label_loss(logits, targets, label_smoothing=0.2)
    soft = F.binary_cross_entropy_with_logits(logits, targets * 0.8 + 0.1)
    assert torch.allclose(smooth, soft)


def test_average_precision_is_the_area_by_definition() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        scores = random.integers(0, 6, 30) / 5  # with ties
        truth = random.random(30) < 0.3
        expected, before = 0.0, 0.0
        for threshold in sorted(set(scores), reverse=True):
            chosen = scores >= threshold
            recall = (truth & chosen).sum() / max(truth.sum(), 1)
            expected += (recall - before) * (truth & chosen).sum() / chosen.sum()
            before = recall
        found = average_precision(torch.tensor(scores), torch.tensor(truth))
        assert found == (pytest.approx(expected) if truth.any() else None)
        order = random.permutation(30)
        assert average_precision(torch.tensor(scores[order]), torch.tensor(truth[order])) == found


def test_meter_by_hand() -> None:
    meter = MultiLabelMeter(3)
    truth = multi_hot([(0,), (0, 1), (-1,)], 3)
    meter.update(
        torch.tensor([[0.9, 0.8, 0.1], [0.6, 0.7, 0.2], [0.99, 0.99, 0.99]]),
        truth,
        torch.tensor([1.0, 3.0, 100.0]),
    )
    meter.miss(multi_hot([(1,)], 3))
    scores = meter.scores()
    assert (scores.videos, scores.unread, scores.loss) == (3, 1, 2.0)  # one has no label
    assert scores.positives == [2, 2, 0]
    # Class 0: both first. Class 1: second of two, then the unread one last.
    assert scores.per_class == [1.0, pytest.approx((1 / 2 + 2 / 3) / 2), None]
    assert scores.map == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)
    assert scores.hit1 == pytest.approx(2 / 3)
    assert scores.prior == pytest.approx(2 / 3)  # of 3 videos, 2 have class 0, 2 have class 1


def test_answers_and_heads() -> None:
    logits = torch.tensor([[0.0, 2.0], [1.0, -1.0]])
    several = over_views(probabilities_of(logits, multi_label=True), multi_label=True)
    assert several.tolist() == torch.tensor([1.0, 2.0]).double().sigmoid().tolist()
    one = over_views(probabilities_of(logits))
    assert one.sum().item() == pytest.approx(1.0)
    for multi in (False, True):  # certain views, too: nothing is infinite
        answers = probabilities_of(torch.cat([logits, 900 * logits]), multi_label=multi)
        found = over_views(answers[:2], multi_label=multi, average="logits")
        wanted = probabilities_of(logits.mean(0), multi_label=multi)
        torch.testing.assert_close(found, wanted)
        assert over_views(answers, multi_label=multi, average="logits").isfinite().all()
    for kind, multi in (("probabilities", True), ("sigmoids", False)):
        net = create_model("tiny_i3d", num_classes=3, width=8, head_average=kind)
        average_logits(net, multi_label=not multi)
        assert net.head.average == kind
        average_logits(net, multi_label=multi)
        assert net.head.average == "logits"
        config: Any = net.config
        again = create_model("tiny_i3d", num_classes=3, **config["options"])
        assert again.head.average == "logits"
