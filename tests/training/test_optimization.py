"""Rates, groups and schedules."""

import math

import pytest
import torch
from torch import nn

from videonl.errors import VideoNLError
from videonl.layers import NonLocalBlock
from videonl.training import (
    Recipe,
    make_optimizer,
    make_recipe,
    parameter_groups,
    rate_factor,
    scaled_rate,
)


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


def test_what_decays() -> None:
    """w_f is a weight; the biases of convolutions may decay otherwise than norms."""
    block = NonLocalBlock(8, affinity="concatenation")
    block.affinity.add_bias()
    model = nn.Sequential(nn.Conv3d(3, 8, 1), nn.BatchNorm3d(8), block, nn.Linear(8, 2))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    values = {"rate": 0.1, "weight_decay": 1e-4, "norm_weight_decay": 0.0}

    def decays(**more: float) -> dict[str, float]:
        groups = parameter_groups(model, **values, **more)
        return {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}

    apart = decays(bias_weight_decay=3e-4)
    assert apart.keys() == set(names.values())
    norms = {"1.weight", "1.bias", "2.norm.weight", "2.norm.bias"}
    assert {name for name, decay in apart.items() if decay == 0.0} == norms
    biases = {name for name in apart if name.endswith("bias")} - norms
    assert {name for name, decay in apart.items() if decay == 3e-4} == biases
    assert "2.affinity.bias" in biases
    assert apart["2.affinity.weight"] == 1e-4
    alike = decays()
    assert all(alike[name] == 0.0 for name in biases)
    assert len(parameter_groups(model, **values)) == 2


def test_nesterov() -> None:
    """The step of Nesterov's momentum: g + m·(m·v + g) with v from the steps before."""
    weight = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    sgd = make_optimizer("sgd", [{"params": [weight], "lr": 0.1, "weight_decay": 0.0}],
                         momentum=0.9, nesterov=True, beta2=0.999, fused=False)  # fmt: skip
    place, speed = 1.0, 0.0
    for gradient in (0.5, -0.2, 0.3):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        sgd.step()
        speed = 0.9 * speed + gradient
        place -= 0.1 * (gradient + 0.9 * speed)
        assert weight.item() == pytest.approx(place, abs=1e-12)
    for wrong in ({"momentum": 0.0}, {"optimizer": "adamw"}):
        with pytest.raises(VideoNLError, match="nesterov needs optimizer sgd with a momentum"):
            make_recipe({"nesterov": True, **wrong})
    with pytest.raises(VideoNLError, match="bias_weight_decay=-1"):
        make_recipe({"bias_weight_decay": -1.0})
