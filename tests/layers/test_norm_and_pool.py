"""What runs on rows inside the block against torch's modules on maps: norm, residual, pooling."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from videonl.layers import NonLocalBlock
from videonl.layers.positions import pool_rows, to_rows

FORMATS = [torch.contiguous_format, torch.channels_last_3d]


def train_twice(block, x):
    """Outputs, gradients and buffers of two training steps."""
    found = []
    for scale in (1.0, 3.0):
        inputs = (scale * x).detach().clone(memory_format=torch.preserve_format).requires_grad_()
        block.zero_grad()
        y = block(inputs)
        (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum().backward()
        found += [y.detach(), inputs.grad, *(p.grad.clone() for p in block.parameters())]
        found += [b.clone() for b in block.buffers()]
    return found


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("affinity", ["embedded_gaussian", "dot_product", "concatenation"])
@pytest.mark.parametrize(
    "options", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}], ids=str
)
def test_a_norm_on_rows_is_the_norm_of_the_map(affinity, layout, options):
    torch.manual_seed(0)
    block = NonLocalBlock(
        12,
        affinity=affinity,
        norm=lambda channels: nn.BatchNorm3d(channels, **options),
        zero_init=False,
        implementation="fast",
    )
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    block = block.double().train()
    literal = copy.deepcopy(block)
    literal.implementation = "reference"
    x = torch.randn(3, 12, 2, 6, 4, dtype=torch.float64).contiguous(memory_format=layout)
    for a, b in zip(train_twice(block, x), train_twice(literal, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_the_result_can_be_worked_on_in_place_and_hooks_on_the_norm_see_the_map():
    block = NonLocalBlock(8)
    x = torch.randn(1, 8, 2, 4, 4, requires_grad=True)
    F.relu(block(x), inplace=True).sum().backward()
    assert x.grad is not None
    seen = []
    block.norm.register_forward_hook(lambda _, args, out: seen.append((args[0].shape, out.shape)))
    block(x)
    assert seen == [(x.shape, x.shape)]


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("kernel", [(1, 2, 2), (2, 2, 2), (1, 3, 2), (2, 1, 1), None])
def test_pooling_of_rows_is_that_of_the_map(kernel, layout):
    torch.manual_seed(0)
    x = torch.randint(0, 3, (2, 3, 5, 7, 6)).double().contiguous(memory_format=layout)
    mine, theirs = (x.clone().requires_grad_() for _ in range(2))
    pooled = pool_rows(to_rows(mine), (5, 7, 6), kernel)
    expected = to_rows(theirs if kernel is None else F.max_pool3d(theirs, kernel))
    assert torch.equal(pooled, expected)
    weights = torch.randn_like(pooled)
    (pooled * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)


@pytest.mark.parametrize(("size", "kernel"), [((7,), (2,)), ((5, 6), (2, 3))])
def test_pooling_of_sequences_and_images(size, kernel):
    x = torch.randn(2, 3, *size)
    x[0, 0, ..., 1] = float("nan")
    pool = F.max_pool1d if len(size) == 1 else F.max_pool2d
    found = pool_rows(to_rows(x), size, kernel)
    torch.testing.assert_close(found, to_rows(pool(x, kernel)), equal_nan=True)
