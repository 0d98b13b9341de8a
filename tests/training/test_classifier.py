"""The module: what it computes, what it keeps, what it refuses."""

import math
from itertools import product
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from videonl.errors import VideoNLError
from videonl.training import (
    FiniteLoss,
    MovingAverage,
    StepSeed,
    TrainingDiverged,
    VideoClassifier,
    classification_loss,
    mix,
    one_hot,
)

PRIMITIVES = (str, int, float, bool, type(None))


def make(**options: object) -> VideoClassifier:
    torch.manual_seed(0)
    return VideoClassifier("tiny_i3d_nl1", num_classes=3, options={"width": 8}, **options)


def only_primitives(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(k, str) and only_primitives(v) for k, v in value.items())
    if isinstance(value, list):
        return all(only_primitives(v) for v in value)
    return type(value) in PRIMITIVES


def test_hyper_parameters_are_primitives_and_rebuild_the_module() -> None:
    model = make(class_names=["a", "b", "c"], class_weights=[1.0, 2.0, 1.0])
    kept = dict(model.hparams)
    assert only_primitives(kept)
    assert {"name", "options", "class_names", "preprocessing", "videonl_version"} <= set(kept)
    again = VideoClassifier(**kept)
    assert again.state_dict().keys() == model.state_dict().keys()
    assert dict(again.hparams) == kept


def test_state_dict_has_the_network_and_nothing_else() -> None:
    assert all(key.startswith("net.") for key in make().state_dict())


def test_class_names_must_fit() -> None:
    with pytest.raises(VideoNLError, match="2 class names"):
        make(class_names=["a", "b"])


def test_views_are_averaged_after_the_softmax_in_chunks() -> None:
    model = make(views_per_forward=2).eval()
    views = torch.randint(0, 255, (2, 3, 4, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        chunked = model.view_probabilities(views)
        clips = model.clips({"video": views})
        expected = torch.stack([model(video).double().softmax(1) for video in clips])
    assert chunked.dtype == torch.float64
    assert chunked.shape == (2, 3, 3)
    assert torch.allclose(chunked, expected, atol=1e-6)


def test_evaluation_counts_views_videos_and_unread_files() -> None:
    model = make().eval()
    batch = {
        "video": torch.randint(0, 255, (2, 3, 4, 32, 32, 3), dtype=torch.uint8),
        "label": torch.tensor([0, 1]),
        "missing": [(7, "bad.mp4", "no video")],
        "missing_labels": [(2,)],
        "views": 3,
    }
    with torch.no_grad():
        model.evaluate(batch)
        empty = {"video": torch.zeros(0, 1, 1, 1, 1, 3, dtype=torch.uint8), "label": torch.zeros(0)}
        model.evaluate({**empty, "missing": [], "missing_labels": [(1,)], "views": 3})
    assert model.eval_meter.scores().videos == 4
    assert model.eval_meter.scores().unread == 2
    assert model.clip_meter.scores().videos == 6 + 3 + 3
    assert model.clip_meter.scores().unread_per_class == [0, 3, 3]


def test_weighted_loss_is_torchs() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    weights = torch.tensor([1.0, 3.0, 0.5])
    loss, losses = classification_loss(logits, one_hot(labels, 3), class_weights=weights)
    assert torch.allclose(loss, F.cross_entropy(logits, labels, weight=weights))
    assert losses.shape == (5,)
    odd = torch.tensor([1.01, 3.01, 0.51])  # no numbers of bfloat16
    exact, _ = classification_loss(logits, one_hot(labels, 3), class_weights=odd)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert classification_loss(logits, one_hot(labels, 3), class_weights=odd)[0] == exact
    plain, _ = classification_loss(logits, one_hot(labels, 3), label_smoothing=0.1)
    assert torch.allclose(plain, F.cross_entropy(logits, labels, label_smoothing=0.1))


def test_mixing_keeps_probabilities_and_shares() -> None:
    clips = torch.stack([torch.zeros(3, 2, 8, 8), torch.ones(3, 2, 8, 8)])
    targets = one_hot(torch.tensor([0, 1]), 2)
    draw = np.random.default_rng(1)
    mixed, soft = mix(clips, targets, mixup=0.4, cutmix=0.0, generator=draw)
    assert torch.allclose(soft.sum(1), torch.ones(2))
    assert mixed[0].mean().item() == pytest.approx(soft[0, 1].item(), abs=1e-5)
    boxed, soft = mix(clips, targets, mixup=0.0, cutmix=1.0, generator=draw)
    assert boxed[0].mean().item() == pytest.approx(soft[0, 1].item(), abs=1e-5)
    same, kept = mix(clips, targets, mixup=0.0, cutmix=0.0, generator=draw)
    assert same is clips
    assert kept is targets


def test_mixing_has_a_generator_of_its_own_that_travels_in_the_checkpoint() -> None:
    model, other = make(recipe={"mixup": 0.4, "cutmix": 1.0}), make()
    clips, targets = torch.randn(4, 3, 2, 8, 8), one_hot(torch.tensor([0, 1, 2, 0]), 3)
    model.mixing.random(5)
    content: dict[str, Any] = {}
    model.on_save_checkpoint(content)
    other.on_load_checkpoint(content)
    state = torch.get_rng_state()
    results = [
        mix(clips, targets, mixup=0.4, cutmix=1.0, generator=each.mixing) for each in (model, other)
    ]
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_the_remedy(value: float) -> None:
    guard = FiniteLoss()
    guard.check(torch.tensor(1.0), step=1)
    with pytest.raises(TrainingDiverged, match=r"step 2.*--recipe.learning_rate"):
        guard.check(torch.tensor(value), step=2)


def test_step_seeds_differ() -> None:
    seeds = set()
    for seed, epoch, batch, rank in product(range(3), range(2), range(10), range(4)):
        trainer: Any = SimpleNamespace(
            num_training_batches=10, current_epoch=epoch, global_rank=rank
        )
        StepSeed(seed).on_train_batch_start(trainer, cast(Any, SimpleNamespace()), None, batch)
        seeds.add(torch.initial_seed())
    assert len(seeds) == 3 * 2 * 10 * 4


def test_moving_average_by_hand() -> None:
    average = MovingAverage(0.5)
    average.average = {"w": torch.tensor([0.0])}

    class Step:
        global_step = 0

    class Module:
        def state_dict(self) -> dict[str, torch.Tensor]:
            return {"w": torch.tensor([1.0])}

    expected = 0.0
    for step in range(1, 8):
        Step.global_step = step
        average.on_train_batch_end(Step, Module(), None, None, 0)  # type: ignore[arg-type]
        average.on_train_batch_end(Step, Module(), None, None, 0)  # type: ignore[arg-type]
        decay = min(0.5, step / (9 + step))
        expected = decay * expected + (1 - decay)
    assert average.average["w"].item() == pytest.approx(expected)
    assert average.updates == 7


def test_moving_average_of_a_half_precision_keeps_small_steps() -> None:
    weights = {"w": torch.ones(1, dtype=torch.bfloat16)}
    module: Any = SimpleNamespace(device=torch.device("cpu"), state_dict=lambda: weights)
    average, trainer = MovingAverage(0.999), cast(Any, SimpleNamespace(global_step=0))
    average.updates = 10_000
    average.on_fit_start(trainer, module)
    weights["w"].fill_(1.5)
    for step in range(1, 101):
        trainer.global_step = step
        average.on_train_batch_end(trainer, module, None, None, 0)
    assert average.average["w"].item() == pytest.approx(1.5 - 0.5 * 0.999**100, rel=1e-4)
