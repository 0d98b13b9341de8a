"""What runs on rows inside the block against torch's modules on maps: norm, residual, pooling."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from videonl.layers import NonLocalBlock

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


def pooled_twice(block, x):
    """The output and the gradient of a block, and of its literal form (with torch's pooling)."""
    literal = copy.deepcopy(block)
    literal.implementation = "reference"
    for one in (block, literal):
        inputs = x.clone(memory_format=torch.preserve_format).requires_grad_()
        y = one(inputs)
        (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum().backward()
        yield y.detach(), inputs.grad


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("kernel", [(1, 2, 2), (2, 2, 2), (1, 3, 2), (2, 1, 1), False])
def test_pooling_of_rows_is_that_of_the_map(kernel, layout):
    """With ties, which share no gradient, and odd ends, which are dropped."""
    torch.manual_seed(0)
    block = NonLocalBlock(4, subsample=kernel, zero_init=False, implementation="fast").double()
    x = torch.randint(0, 3, (2, 4, 5, 7, 6)).double().contiguous(memory_format=layout)
    fast, literal = pooled_twice(block.eval(), x)
    for found, expected in zip(fast, literal, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("size", "kernel"), [((7,), (2,)), ((5, 6), (2, 3))])
def test_pooling_of_sequences_and_images(size, kernel):
    torch.manual_seed(0)
    block = NonLocalBlock(
        4, dim=len(size), subsample=kernel, zero_init=False, implementation="fast"
    )
    x = torch.randn(2, 4, *size)
    x[0, 0, ..., 1] = float("nan")
    (fast, _), (literal, _) = pooled_twice(block.eval(), x)
    torch.testing.assert_close(fast, literal, equal_nan=True)
    assert fast[1].isfinite().all()
