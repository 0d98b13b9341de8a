"""A whole small training, and what it leaves behind."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.small_data import DATA
from videonl.data import VideoDataModule
from videonl.errors import CheckpointError
from videonl.inference import Predictor
from videonl.training import (
    FitResult,
    TrainingDiverged,
    VideoClassifier,
    evaluate,
    predict,
    read_metrics,
)
from videonl.weights import load_checkpoint

CPU = {"accelerator": "cpu", "enable_progress_bar": False}
Train = Callable[..., tuple[VideoClassifier, Any]]
Once = tuple[VideoClassifier, FitResult]


def test_a_training_learns_and_leaves_everything_behind(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, fitted = train(epochs=4, config="seed: 0\n")
    shown = capsys.readouterr().out
    assert "rate      0.003 = 0.003 × 2/2" in shown
    assert "always answering the most frequent class scores 50 %" in shown
    assert "epoch 4/4" in shown
    assert fitted.best_score == 1.0
    names = {path.name for path in fitted.run_dir.iterdir()}
    wanted = {"best.ckpt", "last.ckpt", "config.yaml", "metrics.csv", "summary.md", "curves.png"}
    assert wanted <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not any(name.endswith(".part") for name in names)
    rows = read_metrics(fitted.run_dir / "metrics.csv")
    logged = {key for row in rows for key in row}
    assert {"train/loss", "train/top1", "val/top1", "val/macro", "lr/base"} <= logged
    assert {"speed/data_wait", "speed/clips_per_second"} <= logged
    summary = (fitted.run_dir / "summary.md").read_text()
    assert "| top-1 | 100 % [51, 100] |" in summary
    assert "| dark | 2 | 100 % [34, 100] |" in summary
    assert "the best of 4 epochs on the same 4 videos, which is optimistic" in summary
    assert f"Diagnosis: {(fitted.signs or '').split(':')[0]}" in summary
    assert shown.count("val top-1 100 % [51, 100]") >= 1
    losses = [f"{row['train/epoch_loss']:.3f}" for row in rows if "train/epoch_loss" in row]
    assert re.findall(r"epoch \d/4  mean loss (\S+)  train top-1 \d+ %  val top-1", shown) == losses
    assert "top-5" not in summary  # of two classes
    assert yaml.safe_load((fitted.run_dir / "config.yaml").read_text()) == {"seed": 0}


def test_a_checkpoint_is_safe_and_rebuilds_itself_without_the_data(once: Once) -> None:
    classifier, fitted = once
    content = torch.load(fitted.last, weights_only=True)
    kept = content["hyper_parameters"]
    assert kept["class_names"] == ["dark", "light"]
    assert kept["preprocessing"]["frames"] == DATA["frames"]
    clips = torch.randn(2, 3, 4, 32, 32)
    loaded = load_checkpoint(fitted.last)
    classifier.eval()
    assert loaded.class_names == ["dark", "light"]
    assert torch.allclose(
        loaded.model(clips), classifier(clips), atol=1e-6
    )  # memory formats differ
    again = VideoClassifier.load_from_checkpoint(fitted.last, weights_only=True).eval()
    assert torch.equal(again(clips), classifier(clips))


def test_testing_gives_the_numbers_of_the_predictor(
    once: Once, small_data: Path, tmp_path: Path
) -> None:
    _, fitted = once
    classifier = VideoClassifier.from_checkpoint(fitted.best)
    data = VideoDataModule(str(small_data), **DATA)
    data.setup("predict")
    table = tmp_path / "all.csv"
    count, unread = predict(classifier, data, path=table, trainer_options=CPU)
    assert (count, unread) == (4, 0)
    predictor = Predictor.from_checkpoint(fitted.best, device="cpu")
    header, *rows = [line.split(",") for line in table.read_text().splitlines()]
    assert header == ["path", "class", "dark", "light"]
    for path, label, dark, _ in rows:
        prediction = predictor.predict(path, views=(2, 3))
        assert prediction.label == label
        expected = dict(zip(prediction.classes, prediction.probabilities, strict=True))["dark"]
        assert float(dark) == pytest.approx(expected, abs=1e-5)


def test_an_evaluation_says_what_was_measured(once: Once, small_data: Path) -> None:
    _, fitted = once
    classifier = VideoClassifier.from_checkpoint(fitted.best)
    data = VideoDataModule(str(small_data), **DATA)
    data.setup("predict")
    measured = evaluate(classifier, data, trainer_options=CPU)
    assert (measured.split, measured.views, measured.video.videos) == ("test", (2, 3), 4)
    assert measured.clip.videos == 4 * 6
    assert measured.census == {"dark": 2, "light": 2}
    quick = evaluate(classifier, data, split="val", views=(1, 1), trainer_options=CPU)
    assert (quick.split, quick.views) == ("val", (1, 1))


def test_unreadable_videos_count_as_wrong_in_a_test(
    once: Once, tmp_path: Path, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, fitted = once
    root = tmp_path / "damaged"
    for name in ("dark", "light"):
        (root / "test" / name).mkdir(parents=True)
        good = small_data / "test" / name / "0.mp4"
        (root / "test" / name / "good.mp4").write_bytes(good.read_bytes())
    (root / "test" / "dark" / "text.mp4").write_text("not a video")
    classifier = VideoClassifier.from_checkpoint(fitted.best)
    data = VideoDataModule(str(root), **DATA)
    data.setup("predict")
    measured = evaluate(classifier, data, trainer_options=CPU)
    assert (measured.video.videos, measured.video.unread) == (3, 1)
    assert measured.video.top1 <= 2 / 3
    assert list(measured.missing) == [str(root / "test" / "dark" / "text.mp4")]
    assert "text.mp4" in capsys.readouterr().out


def test_classes_of_a_folder_get_the_numbers_of_the_checkpoint(small_data: Path) -> None:
    def labels(*names: str) -> dict[str, int | None]:
        classifier = VideoClassifier(
            "tiny_i3d", num_classes=len(names), class_names=names, options={"width": 4}
        )
        data = VideoDataModule(str(small_data), **DATA)
        data.setup("predict")
        classifier.meet(data, training=False)
        return {Path(r.path).parent.name: r.label for r in data.records["val"]}

    assert labels("light", "other", "Dark") == {"dark": 2, "light": 0}
    with pytest.raises(ValueError, match="does not know: light"):
        labels("dark")


def test_a_diverging_training_ends_with_one_sentence_and_a_good_checkpoint(
    train: Train, tmp_path: Path
) -> None:
    calls = iter(range(100))

    def loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        found = torch.nn.functional.cross_entropy(logits, truth)
        return found * float("nan") if next(calls) == 2 else found

    with pytest.raises(TrainingDiverged, match=r"nan at step 2: lower --recipe\.learning_rate"):
        train(epochs=1, save_every_steps=1, model={"loss": loss})
    content = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert content["global_step"] == 2
    weights = content["state_dict"].values()
    assert all(torch.isfinite(w).all() for w in weights if w.is_floating_point())


def test_another_network_can_not_go_on(train: Train, once: Once, tmp_path: Path) -> None:
    content = torch.load(once[1].last, weights_only=True)
    content["hyper_parameters"]["class_names"] = ["a", "b"]
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"class_names \['a', 'b'\].*--model.pretrained"):
        train(epochs=2, resume=tmp_path / "last.ckpt")


def test_another_rate_can_not_go_on_and_another_batch_is_named(
    train: Train, once: Once, capsys: pytest.CaptureFixture[str]
) -> None:
    _, fitted = once
    with pytest.raises(CheckpointError, match=r"recipe\.learning_rate 0\.003, .* has 0\.1"):
        train(epochs=2, resume=fitted.last, recipe={"learning_rate": 0.1})
    train(epochs=2, resume=fitted.last, data={"batch_size": 4})
    assert "clips per batch: 2 at the checkpoint, 4 now" in capsys.readouterr().out


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "sgd", "learning_rate": 0.05, "schedule": "step", "class_weights": "none"},
        {"mixup": 0.2, "cutmix": 1.0, "label_smoothing": 0.1, "ema": 0.9},
        pytest.param({"batch_norm": "frozen"}, marks=pytest.mark.slow),
    ],
)
def test_recipes_run(train: Train, recipe: dict[str, Any]) -> None:
    options = {"accumulate_grad_batches": 2, "gradient_clip_val": 1.0}
    _, fitted = train(epochs=1, recipe=recipe, trainer=options)
    assert fitted.last.is_file()
