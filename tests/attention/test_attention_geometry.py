"""Lattices: traced through the operators of a network, and found again in its gradients."""

import pytest
import torch
from torch import nn

from videonl.attention import Lattice, trace_blocks
from videonl.errors import VideoNLError
from videonl.layers import NonLocalBlock, insert_non_local
from videonl.models import create_model


class Averages(nn.Module):
    """Only averages: the gradient of a position is centred exactly on it."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv3d(3, 2, (3, 4, 5), (1, 2, 3), (1, 0, 2), bias=False)
        self.pool = nn.AvgPool3d((2, 2, 1))
        self.wide = nn.Conv3d(2, 2, (1, 3, 2), 1, (0, 2, 1), dilation=(1, 2, 2), bias=False)
        self.block = NonLocalBlock(2, affinity="dot_product")
        for conv in (self.down, self.wide):
            nn.init.constant_(conv.weight, 0.1)

    def before(self, x):
        x = nn.functional.pad(self.pool(self.down(x)), (3, 0, 0, 1))
        return self.wide(x)[:, :, :, 1:]

    def forward(self, x):
        return self.block(self.before(x))


def test_a_lattice_is_where_the_gradient_is_centred():
    net = Averages()
    lattice = trace_blocks(net, (8, 48, 60))["block"]
    clip = torch.ones(1, 3, 8, 48, 60, requires_grad=True)
    features = net.before(clip)
    assert lattice.shape == tuple(features.shape[2:])
    index = (2, 4, 9)
    (gradient,) = torch.autograd.grad(features[0, :, *index].sum(), clip)
    mass = gradient[0].sum(0).double()
    grids = torch.meshgrid(*(torch.arange(n).double() for n in mass.shape), indexing="ij")
    centre = [float((mass * grid).sum() / mass.sum()) for grid in grids]
    assert lattice.at(index) == pytest.approx(centre, abs=1e-4)


@pytest.mark.parametrize(
    ("preset", "shift"),
    [
        # 7x7 stride 2 with padding 3, pool 3x3 stride 2: padded, or not and so a cell later.
        ("pytorchvideo", 0),
        ("official_8x8", 2),
    ],
)
def test_published_networks(preset, shift):
    net = create_model("c2d_r50_nl1", num_classes=2, preset=preset, width=8)
    lattices = trace_blocks(net, (8, 64, 64))
    (name,) = lattices
    found = lattices[name]
    assert name == "res4.4.non_local"
    assert found.stride == (2, 16, 16)
    assert found.offset == (0.5, shift, shift)
    keys = found.pooled((1, 2, 2))
    assert keys.stride[1:] == (32, 32)
    assert keys.offset[1] == shift + 8


def test_several_blocks_and_inserted_ones():
    net = create_model("r3d_18", num_classes=2)
    insert_non_local(net, {"layer2.1": {}, "layer3.1": {}})
    lattices = trace_blocks(net, (8, 64, 64))
    assert {name: lattice.stride for name, lattice in lattices.items()} == {
        "layer2.1.non_local": (2, 4, 4),
        "layer3.1.non_local": (4, 8, 8),
    }


def test_nearest_is_the_inverse_of_at():
    lattice = Lattice((4, 5, 6), (2, 8, 8), (0.5, 3.5, 2))
    assert lattice.nearest(lattice.at((1, 4, 5))) == (1, 4, 5)
    assert lattice.nearest((0, 0, 0)) == (0, 0, 0)
    assert lattice.nearest((99, 99, -99)) == (3, 4, 0)


def test_what_can_not_be_traced_is_said():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = NonLocalBlock(3)

        def forward(self, x):
            return self.block(x.transpose(3, 4))

    with pytest.raises(VideoNLError, match="block cannot be traced"):
        trace_blocks(Turned(), (2, 8, 12))
