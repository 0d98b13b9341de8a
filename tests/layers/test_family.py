"""What else the operation contains, on the same numbers: four known layers as special cases."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from videonl.layers import NonLocalOperation

torch.manual_seed(0)
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def test_self_attention_is_an_embedded_gaussian():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(6, 1, batch_first=True).double()
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    w_q, w_k, w_v = attention.in_proj_weight.chunk(3)
    b_q, b_k, b_v = attention.in_proj_bias.chunk(3)
    operation = NonLocalOperation(
        lambda x: torch.exp(F.linear(x, w_q, b_q) @ F.linear(x, w_k, b_k).transpose(1, 2) / 6**0.5),
        lambda x: F.linear(x, w_v, b_v),
        normalise="sum",
    )
    torch.testing.assert_close(attention.out_proj(operation(x)), attention(x, x, x)[0], **CLOSE)


def test_the_non_local_block_is_multihead_attention_with_one_head():
    """The block itself, fast form, no residual: the weights of MultiheadAttention copied in."""
    from videonl.layers import NonLocalBlock

    torch.manual_seed(0)
    attention = nn.MultiheadAttention(6, 1, batch_first=True).double()
    block = NonLocalBlock(6, dim=1, inner_channels=6, subsample=False, norm=None).double()
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    with torch.no_grad():
        for name, weight, bias in zip(("theta", "phi", "g"), weights, biases, strict=True):
            getattr(block, name).weight.copy_(weight[:, :, None])
            getattr(block, name).bias.copy_(bias)
        block.out.weight.copy_(attention.out_proj.weight[:, :, None])
        block.out.bias.copy_(attention.out_proj.bias)
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    found = block(x.transpose(1, 2)).transpose(1, 2) - x
    torch.testing.assert_close(found, attention(x, x, x)[0], **CLOSE)


def test_a_fully_connected_layer_has_weights_of_the_positions_only():
    torch.manual_seed(0)
    layer = nn.Linear(5, 7, bias=False).double()  # over the 5 positions
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    operation = NonLocalOperation(lambda _: layer.weight, normalise="none")
    expected = layer(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(operation(x), expected, **CLOSE)


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_convolution_has_one_pairwise_function_and_one_g_per_offset(kernel):
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 4, kernel, padding=kernel // 2, bias=False).double()
    height, width = 4, 5
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    row, column = torch.arange(height * width) // width, torch.arange(height * width) % width
    offsets = [(r, c) for r in range(kernel) for c in range(kernel)]
    indicator = torch.stack(
        [
            (row[None] - row[:, None] == r - kernel // 2)
            & (column[None] - column[:, None] == c - kernel // 2)
            for r, c in offsets
        ]
    ).double()  # (H, N, M): 1 where key j lies at this offset from query i
    operation = NonLocalOperation(
        lambda _: indicator[None],
        lambda x: torch.stack([x @ convolution.weight[:, :, r, c].T for r, c in offsets], dim=1),
        normalise="none",
    )
    found = operation(x.flatten(2).transpose(1, 2))
    torch.testing.assert_close(found, convolution(x).flatten(2).transpose(1, 2), **CLOSE)


def test_a_graph_convolution_has_the_adjacency():
    torch.manual_seed(0)
    edges = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]
    adjacency = torch.eye(5, dtype=torch.float64)
    for i, j in edges:
        adjacency[i, j] = adjacency[j, i] = 1
    weight = torch.randn(3, 4, dtype=torch.float64)
    x = torch.randn(1, 5, 3, dtype=torch.float64)
    operation = NonLocalOperation(lambda _: adjacency, lambda x: x @ weight, normalise="sum")
    expected = torch.zeros(5, 4, dtype=torch.float64)
    for i in range(5):  # the mean over the neighbours (and oneself) of x W
        neighbours = [j for j in range(5) if adjacency[i, j]]
        expected[i] = sum(x[0, j] @ weight for j in neighbours) / len(neighbours)
    torch.testing.assert_close(operation(x)[0], expected, **CLOSE)


def test_normalisation_by_count_and_by_a_function():
    x = torch.randn(1, 4, 2)
    ones = lambda _: torch.ones(4, 4)  # noqa: E731
    mean = x.mean(1, keepdim=True).expand_as(x)
    torch.testing.assert_close(NonLocalOperation(ones, normalise="count")(x), mean)
    by_function = NonLocalOperation(ones, normalise=lambda pairs: pairs.sum(-1, keepdim=True))
    torch.testing.assert_close(by_function(x), mean)
    with pytest.raises(ValueError, match="count"):
        NonLocalOperation(ones, normalise="softmax")
