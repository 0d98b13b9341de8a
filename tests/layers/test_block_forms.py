"""Every form of every affinity against the sum that the formula writes."""

import pytest
import torch

from videonl.layers import AFFINITIES, NonLocalBlock


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_fast_equals_reference_in_value_and_gradient(affinity, position):
    torch.manual_seed(0)
    block = NonLocalBlock(
        12, affinity=affinity, zero_init=False, norm=None, subsample_position=position
    ).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    clip = torch.randn(2, 12, 4, 6, 5, dtype=torch.float64)
    results = {}
    for implementation in ("fast", "reference"):
        block.implementation = implementation
        block.zero_grad()
        x = clip.clone().requires_grad_()
        y = block(x)
        y.square().sum().backward()
        results[implementation] = [y, x.grad, *(p.grad for p in block.parameters())]
    for fast, reference in zip(results["fast"], results["reference"], strict=True):
        torch.testing.assert_close(fast, reference, rtol=1e-10, atol=1e-10)
