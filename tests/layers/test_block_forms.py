"""Every fast form against the reference form: values, gradients, dtypes, layouts, odd inputs."""

import pytest
import torch

from videonl.layers import AFFINITIES, NonLocalBlock

SIZES = {1: (24,), 2: (8, 6), 3: (4, 6, 5)}


def make_block(affinity, *, dim=3, dtype=torch.float64, std=0.5, **options):
    torch.manual_seed(0)
    options = {"zero_init": False, "norm": None} | options
    block = NonLocalBlock(12, dim=dim, affinity=affinity, **options)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return block.to(dtype)


def step(block, implementation, x):
    """Output and all gradients of one training step."""
    block.implementation = implementation
    block.zero_grad()
    x = x.clone().requires_grad_()
    y = block(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum().backward()
    return [y.detach(), x.grad, *(p.grad.clone() for p in block.parameters())]


def assert_all_close(left, right, **tolerance):
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_fast_equals_reference_to_1e_10_in_float64(affinity, dim, position):
    block = make_block(affinity, dim=dim, subsample_position=position)
    x = torch.randn(2, 12, *SIZES[dim], dtype=torch.float64)
    assert_all_close(step(block, "fast", x), step(block, "reference", x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("affinity", AFFINITIES)
@pytest.mark.parametrize(
    "options",
    [
        {"subsample": False},
        {"subsample": (2, 2, 2)},
        {"inner_channels": 5},
        {"inner_channels": 2},
        {"out_bias": False},
        {"norm": "batch"},
        {"norm": torch.nn.GroupNorm(2, 12)},
        {"temporal_groups": 2},
        {"attend": "space"},
        {"attend": "time"},
        {"channel_attention": True},
    ],
    ids=lambda o: "-".join(f"{k}={v}" for k, v in o.items())[:30],
)
def test_fast_equals_reference_under_every_option(affinity, options):
    block = make_block(affinity, **options)
    x = torch.randn(2, 12, 4, 6, 4, dtype=torch.float64)
    assert_all_close(step(block, "fast", x), step(block, "reference", x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_memory_layout_of_the_input_changes_nothing_and_is_kept(affinity):
    block = make_block(affinity, norm="batch")
    x = torch.randn(2, 12, 4, 6, 4, dtype=torch.float64)
    last = x.contiguous(memory_format=torch.channels_last_3d)
    assert_all_close(step(block, "fast", last), step(block, "fast", x), rtol=1e-10, atol=1e-10)
    assert block(x).is_contiguous()
    assert block(last).is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_float32_within_1e_5_of_the_float64_reference(affinity, layout):
    block = make_block(affinity, std=0.3)
    x = torch.randn(1, 12, 4, 24, 24, dtype=torch.float64)
    exact = step(block, "reference", x)
    found = step(block.float(), "fast", x.float().contiguous(memory_format=layout))
    largest = max(b.norm() for b in exact)
    for a, b in zip(found, exact, strict=True):
        # φ's bias cannot change a softmax: its exact gradient is 0, hence the second term.
        assert (a.double() - b).norm() <= 1e-5 * b.norm() + 1e-7 * largest


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_bfloat16_error_is_within_that_of_the_reference(affinity):
    """Output, gradient of the input and of every weight, against float64 on the same numbers."""
    ratios = []
    for seed in range(8):
        block = make_block(affinity, std=0.3).bfloat16()
        torch.manual_seed(seed)
        for parameter in block.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        x = torch.randn(2, 12, 4, 8, 8).bfloat16()
        fast, reference = (step(block, form, x) for form in ("fast", "reference"))
        exact = step(block.double(), "reference", x.double())
        assert all(a.dtype == torch.bfloat16 for a in fast)
        ratios.append(
            [error(a, c) / error(b, c) for a, b, c in zip(fast, reference, exact, strict=True)]
        )
    # The same up to the chance of single roundings; φ's bias cannot change a softmax: noise only.
    for of_one_tensor, c in zip(zip(*ratios, strict=True), exact, strict=True):
        if c.norm() > 1e-6:
            assert sorted(of_one_tensor)[4] <= 1.2


def error(found, exact):
    return max((found.double() - exact).norm().item(), 1e-12)


# Along random directions by default, entry by entry where there is time.
@pytest.mark.parametrize("random", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_gradcheck_of_the_fast_form(affinity, random):
    block = make_block(affinity, subsample_position="after")
    block.implementation = "fast"
    x = torch.randn(1, 12, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    inputs = (x, *block.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: block(x), inputs, fast_mode=random)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_nan_and_inf_in_the_input_behave_as_in_the_reference(affinity, value, layout):
    block = make_block(affinity)
    x = torch.randn(2, 12, 4, 6, 4, dtype=torch.float64).contiguous(memory_format=layout)
    x[0, 3, 1, 2, 2] = value
    with torch.no_grad():
        block.implementation = "fast"
        fast = block(x)
        block.implementation = "reference"
        torch.testing.assert_close(fast, block(x), rtol=1e-10, atol=1e-10, equal_nan=True)


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_fast_forms_are_deterministic(affinity):
    block = make_block(affinity, dtype=torch.float32)
    x = torch.randn(2, 12, 4, 16, 16)
    first, second = (step(block, "fast", x) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_autocast_trains_in_bfloat16(affinity):
    block = make_block(affinity, dtype=torch.float32, std=0.3, norm="batch")
    x = torch.randn(2, 12, 4, 6, 4)
    plain = block(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = block(x)
    mixed.float().sum().backward()
    assert (mixed.float() - plain).norm() < 0.05 * plain.norm()
    assert all(p.grad.dtype == torch.float32 for p in block.parameters())


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_hooks_and_wrapped_projections_are_honoured(affinity):
    block = make_block(affinity)
    x = torch.randn(2, 12, 4, 6, 4, dtype=torch.float64)
    plain = step(block, "fast", x)
    seen = []
    for name in ("theta", "phi", "g", "out"):
        if hasattr(block, name):
            module = getattr(block, name)
            module.register_forward_hook(lambda *_, name=name: seen.append(name))
    assert_all_close(step(block, "fast", x), plain, rtol=1e-10, atol=1e-10)
    assert set(seen) == {n for n in ("theta", "phi", "g", "out") if hasattr(block, n)}


def test_an_affinity_of_ones_own_gets_a_fast_form():
    from videonl.layers import Affinity

    class Distance(Affinity):
        def weights(self, queries, keys):
            return torch.softmax(-torch.cdist(queries, keys), dim=-1)

    block = make_block(Distance)
    x = torch.randn(2, 12, 4, 6, 4, dtype=torch.float64)
    assert_all_close(step(block, "fast", x), step(block, "reference", x), rtol=1e-10, atol=1e-10)


def test_blockwise_sum_in_several_blocks(monkeypatch):
    monkeypatch.setattr("videonl.kernels.CPU_ENTRIES", 64)
    test_an_affinity_of_ones_own_gets_a_fast_form()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"affinity": "cosine"}, "embedded_gaussian"),
        ({"dim": 4}, "dim=4"),
        ({"subsample": (2, 2)}, "subsample"),
        ({"subsample_position": "middle"}, "before"),
        ({"attend": "time", "subsample": (1, 2, 2)}, "attend"),
        ({"attend": "time", "dim": 2}, "dim=2"),
        ({"norm": "layer"}, "norm"),
        ({"implementation": "quick"}, "auto"),
        ({"inner_channels": 0}, "inner_channels"),
        ({"temporal_groups": 0}, "temporal_groups"),
    ],
)
def test_bad_options_are_named(options, names):
    with pytest.raises(ValueError, match=names):
        NonLocalBlock(8, **options)


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ((2, 7, 4, 6, 4), "in_channels=8"),
        ((2, 8, 6, 4), "dim=3"),
        ((2, 8, 4, 1, 4), "subsample=False"),
        ((2, 8, 3, 4, 4), "temporal_groups=2"),
    ],
)
def test_bad_inputs_are_named(shape, names):
    with pytest.raises(ValueError, match=names):
        NonLocalBlock(8, temporal_groups=2)(torch.randn(shape))
