"""The examples: real networks of five tasks get blocks, keep their outputs, and train."""

import copy
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from videonl.layers import NonLocalBlock, remove_non_local

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOK = "worth_it"  # tests/extras runs it
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != NOTEBOOK)
BLOCKS = {
    "detection": 1,
    "image_classification": 1,
    "keypoints": 5,
    "sequence": 2,
    "video_classification": 1,
}
LARGE = {"detection", "keypoints", "video_classification"}  # full networks, seconds on one core


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def example_input(example: ModuleType) -> Any:
    generator = torch.Generator().manual_seed(3)
    for maker in ("make_images", "make_clips", "make_sequences"):
        if hasattr(example, maker):
            return getattr(example, maker)(2, generator)[0]
    raise AssertionError(f"{example.__name__} makes no input")


def tensors(value: Any) -> list[torch.Tensor]:
    """The tensors of an output: a tensor, or what a detector returns."""
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value
    return [tensor for item in values for tensor in tensors(item)]


def blocks_of(net: nn.Module) -> list[NonLocalBlock]:
    return [module for module in net.modules() if isinstance(module, NonLocalBlock)]


def test_every_example_is_tested() -> None:
    assert set(NAMES) == set(BLOCKS)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in LARGE else []) for n in NAMES]
)
def test_outputs_are_unchanged_at_insertion_and_training_moves_the_blocks(name: str) -> None:
    torch.manual_seed(0)
    example = load(name)
    net = example.build()
    blocks = blocks_of(net)
    assert len(blocks) == BLOCKS[name]
    plain = remove_non_local(copy.deepcopy(net))
    assert not blocks_of(plain)
    keys = {key for key in net.state_dict() if ".non_local." not in f".{key}"}
    assert keys == set(plain.state_dict()), "an existing key has changed"

    inputs = example_input(example)
    with torch.no_grad():
        with_blocks, without = tensors(net.eval()(inputs)), tensors(plain.eval()(inputs))
    assert len(with_blocks) == len(without) > 0
    for mine, plainly in zip(with_blocks, without, strict=True):
        assert torch.equal(mine, plainly), "inserting a block has changed the output"

    before = copy.deepcopy([block.state_dict() for block in blocks])
    losses = example.train(net.train(), steps=2, batch=2)
    assert all(torch.isfinite(torch.tensor(losses)))
    for block, old in zip(blocks, before, strict=True):
        for key in ("norm.weight", "g.weight", "out.weight"):
            assert not torch.equal(block.state_dict()[key], old[key]), f"{key} has not moved"


@pytest.mark.slow
def test_the_sequence_example_learns_what_its_convolutions_can_not_see() -> None:
    torch.manual_seed(0)
    example = load("sequence")
    losses = example.train(example.build(), steps=60)
    assert sum(losses[-5:]) / 5 < 0.3 < losses[0]
