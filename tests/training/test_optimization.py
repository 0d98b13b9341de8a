"""Rates, groups and schedules."""

import math

import pytest
from torch import nn

from videonl.errors import VideoNLError
from videonl.training import Recipe, make_recipe, parameter_groups, rate_factor, scaled_rate


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.Linear(4, 2))


def test_rate_scales_linearly_and_zero_switches_it_off() -> None:
    assert scaled_rate(0.01, batch=8, reference_batch=64) == 0.00125
    assert scaled_rate(0.01, batch=8, reference_batch=0) == 0.01


def test_groups_hold_every_parameter_once() -> None:
    model = net()
    groups = parameter_groups(
        model,
        rate=0.1,
        weight_decay=1e-4,
        norm_weight_decay=0.0,
        fresh={"2.weight", "2.bias"},
        fresh_factor=10.0,
    )
    found = {group["name"]: group for group in groups}
    assert list(found) == ["base", "base/norm", "new", "new/norm"]
    assert (found["new"]["lr"], found["base"]["lr"]) == (1.0, 0.1)
    assert found["base/norm"]["weight_decay"] == 0.0
    assert found["base"]["weight_decay"] == 1e-4
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())


def test_frozen_parameters_are_in_no_group() -> None:
    model = net()
    model[1].requires_grad_(False)
    groups = parameter_groups(model, rate=0.1, weight_decay=0.0, norm_weight_decay=0.0)
    assert sum(len(group["params"]) for group in groups) == 4
    model.requires_grad_(False)
    with pytest.raises(VideoNLError, match="frozen"):
        parameter_groups(model, rate=0.1, weight_decay=0.0, norm_weight_decay=0.0)


def test_schedules() -> None:
    step = rate_factor("step", total=400, warmup=0.0, milestones=(0.375, 0.75))
    values = [round(step(s), 6) for s in (0, 149, 150, 299, 300, 399)]
    assert values == [1, 1, 0.1, 0.1, 0.01, 0.01]
    cosine = rate_factor("cosine", total=100, warmup=0.1, milestones=())
    assert cosine(0) == pytest.approx(1 / 11)
    assert cosine(9) == pytest.approx(10 / 11)
    assert cosine(10) == 1.0
    assert cosine(55) == pytest.approx(0.5)
    assert cosine(100) == pytest.approx(0.0)
    assert cosine(10_000) == pytest.approx(0.0)
    assert all(cosine(s) >= cosine(s + 1) for s in range(10, 100))
    constant = rate_factor("constant", total=10, warmup=0.0, milestones=())
    assert {constant(s) for s in range(20)} == {1.0}
    assert math.isfinite(rate_factor("cosine", total=0, warmup=0.0, milestones=())(0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate=-1.0"),
        ({"schedule": "linear"}, "cosine, step, constant"),
        ({"milestones": [150, 300]}, "milestones=.*from 0 to 1"),
        ({"learning_rat": 1.0}, "no learning_rat"),
        ({"label_smoothing": 1.5}, "label_smoothing"),
    ],
)
def test_wrong_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(VideoNLError, match=message):
        make_recipe(values)


def test_recipe_survives_as_primitives() -> None:
    recipe = Recipe(milestones=(0.5,), ema=0.9)
    assert make_recipe(recipe.as_primitives()).as_primitives() == recipe.as_primitives()
    assert recipe.as_primitives()["milestones"] == [0.5]
