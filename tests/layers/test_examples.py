"""The examples: real networks of five tasks get blocks, keep their outputs, and train."""

import copy
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models.detection import keypointrcnn_resnet50_fpn, maskrcnn_resnet50_fpn

from videonl.layers import NonLocalBlock, insert_non_local, remove_non_local

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOK = "worth_it"  # tests/extras runs it
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != NOTEBOOK)
BLOCKS = {  # (example, what its network is for): how many it has
    ("detection", "masks"): 1,
    ("detection", "keypoints"): 5,
    ("image_classification",): 1,
    ("sequence",): 2,
    ("video_classification",): 1,
}
LARGE = {"detection", "video_classification"}  # seconds on one core


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
    assert set(NAMES) == {name for name, *_ in BLOCKS}


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=[pytest.mark.slow] if c[0] in LARGE else []) for c in BLOCKS]
)
def test_outputs_are_unchanged_at_insertion_and_training_moves_the_blocks(
    case: tuple[str, ...],
) -> None:
    torch.manual_seed(0)
    example = load(case[0])
    net = example.build(*case[1:])
    blocks = blocks_of(net)
    assert len(blocks) == BLOCKS[case]
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
@pytest.mark.parametrize("task", ["masks", "keypoints"])
def test_the_blocks_of_the_detection_example_fit_torchvisions_networks(task: str) -> None:
    make = {"masks": maskrcnn_resnet50_fpn, "keypoints": keypointrcnn_resnet50_fpn}[task]
    net = make(weights=None, weights_backbone=None, min_size=64, max_size=64).eval()
    torch.manual_seed(0)
    images = [torch.rand(3, 64, 64)]
    with torch.no_grad():
        before = tensors(net(images))
        last_but_one = {"backbone.body.layer3.4": {}}  # the paper's place among res4's six
        names = [name for name in load("detection").places(task) if name.startswith("roi_heads")]
        insert_non_local(net, last_but_one | {name: {} for name in names})
        after = tensors(net(images))
    assert len(blocks_of(net)) == BLOCKS["detection", task]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_pictures_of_the_detection_example_are_of_two_far_bodies_that_fit() -> None:
    example = load("detection")
    images, targets = example.make_images(20, torch.Generator().manual_seed(1))
    labels = {int(target["labels"][0]) for target in targets}
    assert labels == {1, 2}
    for image, target in zip(images, targets, strict=True):
        assert image.shape == (3, example.SIZE, example.SIZE)
        (left, top, right, bottom), other = target["boxes"].tolist()
        assert 0 <= left < right <= example.SIZE
        assert 0 <= top < bottom <= example.SIZE
        assert max(other[0] - right, other[1] - bottom) >= 32  # a third of the picture between them
        for mask, points, box in zip(
            target["masks"], target["keypoints"], target["boxes"], strict=True
        ):
            rows, columns = mask.nonzero(as_tuple=True)
            assert [int(columns.min()), int(rows.min())] == box[:2].int().tolist()
            assert set(points[:, 0].tolist()) <= {float(box[0]), float(box[2]) - 1}
        near, far = target["keypoints"][0][:, :2]
        middle = (target["boxes"][1][:2] + target["boxes"][1][2:]) / 2
        assert (near - middle).norm() < (far - middle).norm()


@pytest.mark.slow
def test_the_sequence_example_learns_what_its_convolutions_can_not_see() -> None:
    torch.manual_seed(0)
    example = load("sequence")
    losses = example.train(example.build(), steps=60)
    assert sum(losses[-5:]) / 5 < 0.3 < losses[0]
