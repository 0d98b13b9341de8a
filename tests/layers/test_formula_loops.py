"""The block against the double loop that the paper's formula writes, on numbers of our own."""

import math

import pytest
import torch

from videonl.layers import NonLocalBlock
from videonl.models import create_model


def by_loops(block, x, *, scale):
    """z_i = W_z (1/C Σ_j f(x_i, x_j) g_j) + x_i, position by position; one sample, no sub-sampling.

    Args:
        x: (C, N).
    """

    def linear(convolution, column):
        return convolution.weight.flatten(1) @ column + convolution.bias

    count = x.shape[1]
    name = type(block.affinity).__name__
    z = torch.empty_like(x)
    for i in range(count):
        pairs, total = [], 0.0
        for j in range(count):
            if name == "Gaussian":
                f = math.exp(float(x[:, i] @ x[:, j]))
            elif name == "EmbeddedGaussian":
                f = math.exp(
                    scale * float(linear(block.theta, x[:, i]) @ linear(block.phi, x[:, j]))
                )
            elif name == "DotProduct":
                f = float(linear(block.theta, x[:, i]) @ linear(block.phi, x[:, j]))
            else:
                both = torch.cat([linear(block.theta, x[:, i]), linear(block.phi, x[:, j])])
                f = max(0.0, float(block.affinity.weight @ both))
            pairs.append(f)
            total += f
        norm = total if "Gaussian" in name else count
        y = sum(f * linear(block.g, x[:, j]) for j, f in enumerate(pairs)) / norm
        z[:, i] = linear(block.out, y) + x[:, i]
    return z


@pytest.mark.parametrize("implementation", ["auto", "fast", "reference"])
@pytest.mark.parametrize(
    ("affinity", "use_scale"),
    [
        ("gaussian", True),
        ("embedded_gaussian", True),
        ("embedded_gaussian", False),
        ("dot_product", True),
        ("concatenation", True),
    ],
)
def test_block_equals_the_loops(affinity, use_scale, implementation):
    torch.manual_seed(1)
    block = NonLocalBlock(
        6,
        affinity=affinity,
        use_scale=use_scale,
        subsample=False,
        norm=None,
        zero_init=False,
        implementation=implementation,
    ).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(1, 6, 2, 3, 3, dtype=torch.float64)
    with torch.no_grad():
        loops = by_loops(block, x[0].flatten(1), scale=3**-0.5 if use_scale else 1.0)
        torch.testing.assert_close(block(x)[0].flatten(1), loops, rtol=1e-9, atol=1e-9)


def by_pooled_loops(block, x):
    """The paper's embedded Gaussian: exp(θᵀφ), φ and g pooled by 1×2×2 after they are computed."""

    def linear(convolution, column):
        return convolution.weight.flatten(1) @ column + convolution.bias

    _, time, high, wide = x.shape

    def pooled(convolution):
        cells = []
        for t in range(time):
            for row in range(high // 2):
                for column in range(wide // 2):
                    four = [
                        linear(convolution, x[:, t, 2 * row + a, 2 * column + b])
                        for a in (0, 1)
                        for b in (0, 1)
                    ]
                    cells.append(torch.stack(four).max(0).values)
        return cells

    phi, g = pooled(block.phi), pooled(block.g)
    z = torch.empty_like(x)
    for t in range(time):
        for row in range(high):
            for column in range(wide):
                theta = linear(block.theta, x[:, t, row, column])
                f = [math.exp(float(theta @ key)) for key in phi]
                y = sum(one * value for one, value in zip(f, g, strict=True)) / sum(f)
                z[:, t, row, column] = linear(block.out, y) + x[:, t, row, column]
    return z


@pytest.mark.parametrize("implementation", ["auto", "fast", "reference"])
def test_the_papers_form_equals_the_loops(implementation):
    """No scale, the pool after φ and g, He's initialisation."""
    torch.manual_seed(1)
    options = {"form": "paper", "norm": None, "zero_init": False}
    block = NonLocalBlock(6, implementation=implementation, **options).double()
    x = torch.randn(1, 6, 2, 4, 6, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(block(x)[0], by_pooled_loops(block, x[0]), rtol=1e-9, atol=1e-9)
    wide = NonLocalBlock(512, **options)
    for name, inside in (("theta", 512), ("phi", 512), ("g", 512), ("out", 256)):
        convolution = getattr(wide, name)
        assert convolution.weight.std().item() == pytest.approx((2 / inside) ** 0.5, rel=0.02)
        assert not convolution.bias.any()
    released = NonLocalBlock(512, zero_init=False)
    assert released.theta.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert (released.affinity.use_scale, released.subsample_position) == (True, "before")
    own = NonLocalBlock(6, form="paper", use_scale=True)
    assert (own.affinity.use_scale, own.subsample_position) == (True, "after")
    with pytest.raises(ValueError, match="form='papers' must be one of"):
        NonLocalBlock(6, form="papers")


def test_the_papers_form_in_a_network():
    net = create_model("tiny_i3d_nl1", non_local_options={"form": "paper"})
    (block,) = [module for module in net.modules() if isinstance(module, NonLocalBlock)]
    assert (block.form, block.affinity.use_scale) == ("paper", False)
    assert block.subsample_position == "after"
    assert not block.norm.weight.any()  # the block starts as the identity all the same


def test_subsampling_before_and_after_the_projections():
    """One inner channel, dot product, all weights 1: the sums can be written down by hand."""
    for position, pooled in (("before", [4.0, 8.0]), ("after", [4.0, 8.0])):
        block = NonLocalBlock(
            1, dim=1, affinity="dot_product", subsample_position=position, norm=None
        )
        for name in ("theta", "phi", "g", "out"):
            torch.nn.init.ones_(getattr(block, name).weight)
            torch.nn.init.zeros_(getattr(block, name).bias)
        x = torch.tensor([[[1.0, 4.0, 8.0, 2.0]]])
        expected = x + x * sum(k * k for k in pooled) / 2
        torch.testing.assert_close(block(x), expected)
    # A negative φ and g tells the two apart: max of -x is -min of x.
    outputs = []
    for position in ("before", "after"):
        block.subsample_position = position
        torch.nn.init.constant_(block.phi.weight, -1.0)
        outputs.append(block(x))
    before = x - x * (4 * 4 + 8 * 8) / 2
    after = x - x * (1 * 4 + 2 * 8) / 2
    torch.testing.assert_close(outputs, [before, after])


def test_space_time_and_groups_see_only_their_own_keys():
    torch.manual_seed(0)
    x = torch.randn(1, 4, 4, 3, 2, dtype=torch.float64)
    whole = NonLocalBlock(4, subsample=False, norm=None, zero_init=False).double()
    for parameter in whole.parameters():
        torch.nn.init.normal_(parameter)

    def with_(**options):
        block = NonLocalBlock(4, subsample=False, norm=None, **options).double()
        block.load_state_dict(whole.state_dict())
        return block(x)

    by_frame = torch.cat([whole(frame) for frame in x.split(1, dim=2)], dim=2)
    torch.testing.assert_close(with_(attend="space"), by_frame)
    by_half = torch.cat([whole(half) for half in x.split(2, dim=2)], dim=2)
    torch.testing.assert_close(with_(temporal_groups=2), by_half)
    rows = [torch.cat([whole(p) for p in row.split(1, dim=4)], dim=4) for row in x.split(1, dim=3)]
    torch.testing.assert_close(with_(attend="time"), torch.cat(rows, dim=3))
