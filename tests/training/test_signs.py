"""What a finished training looks like, in one sentence."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.training.conftest import trained
from videonl.training import (
    Course,
    classification_loss,
    constant_loss,
    multi_label_loss,
    signs_of,
)

FLAT = [1.1] * 12
FALLING = [1.1 * 0.9**epoch for epoch in range(12)]
SETTLED = [1.0, 0.6, 0.4, 0.3] + [0.25] * 8


def course(
    losses: Sequence[float],
    training: float,
    validation: Sequence[float] | float | None = None,
    **more: object,
) -> Course:
    values: dict[str, object] = {
        "losses": losses,
        "training": [training] * len(losses),
        "validation": [] if validation is None else [validation] * len(losses)
        if isinstance(validation, float) else validation,
        "clips": 200, "videos": 24, "constant_loss": math.log(3), "constant": 1 / 3, "classes": 3,
        "optimizer": "sgd", "rate": 0.0025, "steps": 50,
    }  # fmt: skip
    return Course(**(values | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "begins", "flag"),
    [
        (course(FLAT, 0.34, 0.33), "not learned", "--recipe.optimizer adamw"),
        (course(FLAT, 0.34), "not learned", "--trainer.max_epochs 24"),
        (course(FLAT, 0.34, optimizer="adamw"), "not learned", "--recipe.learning_rate 0.0008"),
        (course(FALLING, 0.7, 0.6), "still improving", "--trainer.max_epochs 24"),
        (course([1.0], 0.5, 0.6), "still improving", "--trainer.max_epochs 10"),
        (course(SETTLED, 0.97, 0.45), "overfitted", "--model.pretrained FILE"),
        (course(FALLING, 0.97, [0.6] * 5 + [0.4] * 7), "overfitted", "--recipe.weight_decay"),
        (course(SETTLED, 0.6, 0.58), "underfitted", "a larger --model.name"),
        (course(SETTLED, 0.95, 0.92), "learned: training 95.0 %, validation 92 % [74, 98]", ""),
        (course(FALLING, 0.99), "learned: training 99.0 %", ""),
        (course(FLAT, 0.9, 0.9), "learned", ""),  # with mixup the loss stays high
    ],
)
def test_one_sentence_with_the_flag_to_try(found: Course, begins: str, flag: str) -> None:
    text = signs_of(found)
    assert text is not None
    assert text.startswith(begins)
    assert flag in text


def test_the_balanced_sampler_makes_classes_equally_frequent(
    small_data: Path, tmp_path: Path
) -> None:
    rows = [*(f"train/dark/{number}.mp4,dark" for number in range(3)), "train/light/0.mp4,light"]
    listed = tmp_path / "train.csv"
    listed.write_text("\n".join(rows), encoding="utf-8")
    _, result = trained(
        small_data,
        tmp_path / "run",
        epochs=1,
        recipe={"learning_rate": 0.0},
        data={"train_list": str(listed), "balanced": True},
    )
    assert "0.693 of a constant answer" in str(result.signs), "not 0.562, of 3 to 1"


def test_nothing_trained_has_no_signs() -> None:
    assert signs_of(course([], 0.0)) is None


def test_what_an_answer_without_looking_loses() -> None:
    assert constant_loss([5, 5, 5], 15, multi_label=False, weights=None) == pytest.approx(
        math.log(3)
    )
    uneven = constant_loss([9, 1], 10, multi_label=False, weights=None)
    assert uneven == pytest.approx(-0.9 * math.log(0.9) - 0.1 * math.log(0.1))
    assert constant_loss([5, 5], 10, multi_label=True, weights=None) == pytest.approx(math.log(2))


@pytest.mark.parametrize("weights", [None, [0.5556, 5.0]])  # balanced
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("several", [False, True])
def test_no_constant_answer_loses_less(
    several: bool, smoothing: float, weights: list[float] | None
) -> None:
    loss_of = multi_label_loss if several else classification_loss
    truth = torch.tensor([0] * 9 + [1])
    targets = torch.nn.functional.one_hot(truth, 2).float()
    heavy = None if weights is None else torch.tensor(weights)
    more = {"class_weights": heavy, "label_smoothing": smoothing}
    losses = []
    for share in torch.linspace(0.01, 0.99, 197):
        answer = torch.stack([share, 1 - share])
        logits = answer.logit() if several else answer.log()
        losses.append(float(loss_of(logits.expand(10, 2), targets, **more)[1].mean()))  # type: ignore[arg-type]
    found = constant_loss(
        [9, 1], 10, multi_label=several, weights=weights, label_smoothing=smoothing
    )
    assert found == pytest.approx(min(losses), abs=1e-4)
