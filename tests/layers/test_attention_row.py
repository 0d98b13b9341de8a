"""One row of the N x M matrix, for every affinity and every way to group positions."""

import pytest
import torch
from torch.nn import functional as F

from videonl.layers import AFFINITIES, NonLocalBlock

SPATIAL = (4, 6, 5)


def make(affinity, **options):
    torch.manual_seed(0)
    block = NonLocalBlock(6, affinity=affinity, **options).double()
    for name, parameter in block.named_parameters():
        if not name.startswith("norm"):
            torch.nn.init.normal_(parameter, std=0.5)
    return block


def matrix(block, x):
    """All weights f/C of the block, group by group: (groups, n, m)."""
    embedded = block.affinity.embedded
    queries, keys = (block.theta(x), block.phi) if embedded else (x, torch.nn.Identity())
    if block.pool_kernel is None:
        keys = keys(x)
    elif block.subsample_position == "before":
        keys = keys(F.max_pool3d(x, block.pool_kernel))
    else:
        keys = F.max_pool3d(keys(x), block.pool_kernel)
    return block.affinity.weights(*(groups(t, block) for t in (queries, keys)))


def groups(features, block):
    """Rows (groups, n, C) of a map (1, C, T, H, W), group by group."""
    _, channels, time, height, width = features.shape
    rows = features[0].movedim(0, -1)  # (T, H, W, C)
    if block.attend == "time":
        return rows.reshape(time, height * width, channels).transpose(0, 1)
    count = time if block.attend == "space" else block.temporal_groups
    return rows.reshape(count, -1, channels)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"subsample": False},
        {"subsample_position": "after"},
        {"temporal_groups": 2},
        {"attend": "space"},
        {"attend": "time"},
    ],
    ids=str,
)
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_a_row_is_that_of_the_matrix(affinity, options):
    block = make(affinity, **options)
    x = torch.randn(1, 6, *SPATIAL, dtype=torch.float64)
    full = matrix(block, x)
    t, h, w = 2, 3, 1
    row = block.attention_row(x, (t, h, w))[0]
    groups = {"space": 4, "time": 30}.get(block.attend, block.temporal_groups)
    if block.attend == "time":
        own = full[h * 5 + w, t]
        assert torch.count_nonzero(row) <= 4
        torch.testing.assert_close(row[:, h, w], own)
    else:
        size = 4 // groups
        own = full[t // size, (t % size) * 30 + h * 5 + w]
        mine = row[t // size * size : (t // size + 1) * size]
        torch.testing.assert_close(mine.flatten(), own)
        assert torch.count_nonzero(row) == torch.count_nonzero(mine)


def test_positions_may_be_flat_and_negative_and_batches_keep_their_rows():
    block = make("embedded_gaussian")
    x = torch.randn(3, 6, *SPATIAL, dtype=torch.float64)
    row = block.attention_row(x, (2, 3, 1))
    assert row.shape == (3, 4, 3, 2)
    torch.testing.assert_close(row.flatten(1).sum(1), torch.ones(3, dtype=torch.float64))
    assert torch.equal(row, block.attention_row(x, 2 * 30 + 3 * 5 + 1))
    assert torch.equal(row, block.attention_row(x, (-2, -3, -4)))
    assert torch.equal(row[1:2], block.attention_row(x[1:2], (2, 3, 1)))


@pytest.mark.parametrize("position", [120, -121, (4, 0, 0), (0, 0)])
def test_a_position_outside_is_named(position):
    with pytest.raises(ValueError, match="outside"):
        make("gaussian").attention_row(torch.zeros(1, 6, *SPATIAL).double(), position)


def test_sequences_and_images():
    sequence = NonLocalBlock(4, dim=1).attention_row(torch.randn(2, 4, 10), 7)
    assert sequence.shape == (2, 5)
    assert NonLocalBlock(4, dim=2).attention_row(torch.randn(2, 4, 6, 8), (5, 7)).shape == (2, 3, 4)
