"""Projection, batch norm and residual in one pass against torch's modules; pooling by slices."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from videonl.layers import NonLocalBlock
from videonl.layers.pooling import add_at_places, pool, pool_with_places

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
def test_one_pass_equals_the_three_modules(affinity, layout, options, monkeypatch):
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
    apart = copy.deepcopy(block)
    x = torch.randn(3, 12, 2, 6, 4, dtype=torch.float64).contiguous(memory_format=layout)
    found = train_twice(block, x)
    monkeypatch.setattr("videonl.layers.block.can_join", lambda *_: False)
    for a, b in zip(found, train_twice(apart, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layout", FORMATS)
def test_one_pass_in_several_blocks(layout, monkeypatch):
    monkeypatch.setattr("videonl.layers.project_norm_add._ENTRIES", 64)
    monkeypatch.setattr("videonl.layers.project_norm_add._ENTRIES_OF_PRODUCT", 64)
    for affinity in ("dot_product", "concatenation"):
        test_one_pass_equals_the_three_modules(affinity, layout, {}, monkeypatch)


def test_the_result_can_be_worked_on_in_place_and_hooks_on_the_norm_are_called():
    block = NonLocalBlock(8)
    x = torch.randn(1, 8, 2, 4, 4, requires_grad=True)
    F.relu(block(x), inplace=True).sum().backward()
    assert x.grad is not None
    seen = []
    block.norm.register_forward_hook(lambda *_: seen.append(True))
    block(x)
    assert seen


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("kernel", [(1, 2, 2), (2, 2, 2), (1, 3, 2), (2, 1, 1)])
def test_pooling_by_slices_equals_torch_also_where_maxima_tie(kernel, layout):
    torch.manual_seed(0)
    x = torch.randint(0, 3, (2, 3, 5, 7, 6)).double().contiguous(memory_format=layout)
    mine, theirs = (x.clone().requires_grad_() for _ in range(2))
    pooled, expected = pool(mine, kernel), F.max_pool3d(theirs, kernel)
    assert torch.equal(pooled, expected)
    weights = torch.randn_like(pooled)
    (pooled * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)
    assert torch.equal(pool(x, kernel), expected)  # without a gradient no places are noted


def test_pooling_of_nan_goes_where_torch_sends_it():
    x = torch.randn(1, 2, 2, 4, 4)
    x[0, 0, 0, 1, 0] = float("nan")
    pooled, places = pool_with_places(x, (1, 2, 2))
    expected, index = F.max_pool3d(x, (1, 2, 2), return_indices=True)
    torch.testing.assert_close(pooled, expected, equal_nan=True)
    torch.testing.assert_close(pool(x, (1, 2, 2)), expected, equal_nan=True)
    total = torch.zeros_like(x)
    add_at_places(total, torch.ones_like(pooled), places, (1, 2, 2))
    assert torch.equal(total.flatten(2).nonzero()[:, 2].sort()[0], index.flatten().sort()[0])
