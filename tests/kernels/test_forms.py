"""Every form of every sum × dtype × memory layout × odd sizes, against loops in float64.

``pytest -m gpu`` runs the same matrix on CUDA.
"""

import math
from functools import cache

import pytest
import torch
from torch import nn

from videonl.kernels import TABLE, Linear, Operands, non_local_sum
from videonl.layers import AFFINITIES, Affinity

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, CUDA])]
FORMS = list({(kind, f.name): (kind, f) for kind, fs in TABLE.items() for f in fs}.values())
NAMES = [f"{kind}-{form.name}".replace(" ", "_") for kind, form in FORMS]
LAST = {"softmax": "blocks of queries", "relu": "sorted", "own": "blocks of queries"}
SIZES = [  # B, N, M, inputs, C, D, outputs
    (1, 1, 1, 3, 1, 1, 3),
    (2, 13, 5, 5, 3, 3, 7),
    (1, 23, 17, 13, 7, 5, 13),
]
# Largest error over the largest value of the exact result.
LIMITS = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}


class Distance(Affinity):
    """An affinity of one's own."""

    def weights(self, queries, keys):
        differences = queries[:, :, None] - keys[:, None]
        return torch.softmax(-differences.square().sum(-1), dim=-1)


def affinity_of(kind, width):
    classes = {"dot_product": "dot_product", "relu": "concatenation"}
    made = AFFINITIES[classes.get(kind, "embedded_gaussian")] if kind != "own" else Distance
    affinity = made(width)
    if kind == "relu":
        nn.init.normal_(affinity.weight)
        affinity.add_bias()
        nn.init.normal_(affinity.bias)
    return affinity.double()


def make(kind, size, *, seed=0):
    """Rows, maps (weight, bias) and the affinity in float64."""
    torch.manual_seed(seed)
    batch, count, keys, inputs, width, depth, outputs = size
    x = torch.randn(batch, count, inputs, dtype=torch.float64)
    pooled = torch.randn(batch, keys, inputs, dtype=torch.float64)
    shapes = {"theta": width, "phi": width, "g": depth}
    maps = {
        name: (torch.randn(rows, inputs).double() / inputs**0.5, torch.randn(rows).double())
        for name, rows in shapes.items()
    }
    maps["out"] = (torch.randn(outputs, depth).double(), torch.randn(outputs).double())
    return x, pooled, maps, affinity_of(kind, width)


def loops(kind, x, pooled, maps, affinity):
    """Equations 1 and 6, pair by pair."""
    theta, phi, g = (
        rows @ maps[name][0].T + maps[name][1]
        for name, rows in (("theta", x), ("phi", pooled), ("g", pooled))
    )
    result = []
    for b in range(x.shape[0]):
        for i in range(x.shape[1]):
            f = []
            for j in range(pooled.shape[1]):
                q, k = theta[b, i], phi[b, j]
                if kind == "softmax":
                    f.append(torch.exp(affinity.scale * (q @ k)))
                elif kind == "own":
                    f.append(torch.exp(-(q - k).square().sum()))
                elif kind == "dot_product":
                    f.append(q @ k)
                else:
                    f.append(torch.relu(affinity.weight @ torch.cat([q, k]) + affinity.bias[0]))
            f = torch.stack(f)
            total = f.sum() if kind in ("softmax", "own") else pooled.shape[1]
            result.append(maps["out"][0] @ ((f / total) @ g[b]) + maps["out"][1])
    return torch.stack(result).unflatten(0, x.shape[:2])


def operands(kind, x, pooled, maps, affinity, *, joined):
    made = {name: Linear(*pair) for name, pair in maps.items()}
    if joined:
        both = zip(maps["phi"], maps["g"], strict=True)
        made["phi_and_g"] = Linear(*(torch.cat(pair) for pair in both))
    relu = kind == "relu"
    return Operands(
        kind,
        affinity.weights,
        x,
        pooled,
        pooled,
        maps["theta"][0].shape[0],
        maps["g"][0].shape[0],
        **made,
        scale=affinity.scale,
        direction=affinity.weight if relu else None,
        shift=affinity.bias if relu else None,
    )


def results(compute, x, pooled, maps, affinity):
    """The result and the gradients of everything."""
    leaves = [x, pooled, *(t for pair in maps.values() for t in pair), *affinity.parameters()]
    y = compute()
    weights = torch.linspace(-1, 1, y.numel(), device=y.device).view(y.shape).to(y.dtype)
    return [y, *torch.autograd.grad(y, leaves, weights)]


def leaf(t, device, dtype):
    return t.detach().to(device, dtype, copy=True).requires_grad_()


def moved(case, device, dtype, layout):
    x, pooled, maps, affinity = case
    if layout == "channels_first":
        x, pooled = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in (x, pooled))
    x, pooled = (leaf(t, device, dtype) for t in (x, pooled))
    maps = {n: tuple(leaf(t, device, dtype) for t in pair) for n, pair in maps.items()}
    return x, pooled, maps, affinity.to(device, dtype)


@cache
def exact_results(kind, size, dtype):
    """By the loops in float64, on numbers that were rounded to ``dtype``."""
    rounded = moved(make(kind, size), "cpu", dtype, "channels_last")
    wide = moved(rounded, "cpu", torch.float64, "channels_last")
    return [t.detach() for t in results(lambda: loops(kind, *wide), *wide)]


def check(found, exact, limit):
    largest = max(float(t.abs().max()) for t in exact)
    for a, b in zip(found, exact, strict=True):
        difference = float((a.detach().double().cpu() - b).abs().max())
        # A softmax does not see φ's bias: what is exactly 0 there is rounding of the others.
        assert difference <= limit * (float(b.abs().max()) + 0.1 * largest), difference


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dtype", LIMITS, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("kind", "form"), FORMS, ids=NAMES)
def test_every_form_is_the_double_loop(kind, form, size, dtype, layout, device):
    exact = exact_results(kind, size, dtype)
    here = moved(make(kind, size), device, dtype, layout)
    op = operands(kind, *here, joined=layout == "channels_last")
    if form.name == "Triton tiles" and form.refuses(op) is not None:
        pytest.skip(form.refuses(op))
    if dtype in (torch.float16, torch.bfloat16) and device == "cpu":
        compute = lambda: form.compute(op.to(torch.float32)).to(dtype)  # noqa: E731
    else:
        compute = lambda: form.compute(op)  # noqa: E731
    check(results(compute, *here), exact, LIMITS[dtype])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("entries", [64, 300])
@pytest.mark.parametrize("kind", ["softmax", "relu", "own"])
def test_work_in_several_blocks(kind, entries, device, monkeypatch):
    """Blocks that cut the queries, the kept weights and the channels anywhere."""
    for name in ("CPU_ENTRIES", "GPU_ENTRIES"):
        monkeypatch.setattr(f"videonl.kernels.{name}", entries)
    form = next(form for form in TABLE[kind] if form.name == LAST[kind])
    for size in SIZES:
        exact = exact_results(kind, size, torch.float64)
        here = moved(make(kind, size), device, torch.float64, "channels_last")
        op = operands(kind, *here, joined=True)
        check(results(lambda op=op: form.compute(op), *here), exact, 1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["x", "pooled"])
@pytest.mark.parametrize(("kind", "form"), FORMS, ids=NAMES)
def test_what_is_not_finite_spoils_what_it_spoils_in_the_literal_form(
    kind, form, where, poison, device
):
    case = moved(make(kind, (2, 37, 9, 5, 3, 3, 7)), device, torch.float64, "channels_last")
    with torch.no_grad():
        case[where == "pooled"][0, 4, 1] = poison
    op = operands(kind, *case, joined=False)
    if form.name == "Triton tiles" and form.refuses(op) is not None:
        pytest.skip(form.refuses(op))
    queries, keys, values = op.embedded()
    expected = op.out(op.weights(queries, keys) @ values)
    found = form.compute(op)
    finite = found.isfinite()
    if form.name != "sorted":  # there also a query whose score is -inf, which ReLU would hide
        assert torch.equal(finite, expected.isfinite())
    assert expected[finite].isfinite().all()
    torch.testing.assert_close(found[finite], expected[finite])


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["a", "b", "values"])
def test_scores_that_are_not_finite_spoil_what_relu_lets_through(where, poison):
    torch.manual_seed(0)
    inputs = {"a": torch.randn(2, 9), "b": torch.randn(2, 130), "values": torch.randn(2, 130, 3)}
    inputs[where][(0, 4) if where != "values" else (0, 4, 1)] = poison
    a, b, values = inputs.values()
    reference = torch.relu(a[:, :, None] + b[:, None]) @ values
    found = torch.ops.videonl.relu_sums(a, b, values, 1 << 20, True)
    assert torch.equal(found.isfinite(), reference.isfinite())
    finite = reference.isfinite()
    torch.testing.assert_close(found[finite], reference[finite], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("product", [True, False])
def test_float32_sorting_does_not_cancel_far_from_zero(product):
    """Scores of ±1000 whose sums are about 1: the naive a·S + T would lose 3 digits."""
    torch.manual_seed(0)
    a, b = torch.randn(1, 500) - 1000, torch.randn(1, 400) + 1000
    values = torch.randn(1, 400, 8)
    exact = torch.relu(a.double()[:, :, None] + b.double()[:, None]) @ values.double()
    found = torch.ops.videonl.relu_sums(a, b, values, 1 << 20, product).double()
    assert (found - exact).norm() <= 1e-4 * exact.norm()  # a + b alone rounds at 6e-5
    reference = (torch.relu(a[:, :, None] + b[:, None]) @ values).double()
    assert (found - exact).norm() <= 2 * (reference - exact).norm()


def test_relu_at_zero_has_gradient_zero():
    a = torch.tensor([[[-1.0], [2.0]]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([[[1.0], [-2.0], [3.0]]], dtype=torch.float64, requires_grad=True)
    values = torch.tensor([[[3.0], [30.0], [300.0]]], dtype=torch.float64)  # three keys: / 3
    both = torch.ones(2, dtype=torch.float64)
    op = Operands("relu", None, a, b, values, 1, 1, *[Linear()] * 4, direction=both)
    (form,) = (form for form in TABLE["relu"] if form.name == "sorted")
    form.compute(op).sum().backward()
    assert a.grad.flatten().tolist() == [100.0, 101.0]
    assert b.grad.flatten().tolist() == [1.0, 0.0, 200.0]


@pytest.mark.parametrize("kind", ["softmax", "relu"])
def test_operators_pass_torchs_own_checks(kind):
    """Schema and fake tensors of the sum and of its gradient: what torch.compile relies on."""
    torch.manual_seed(0)
    values, grad = torch.randn(2, 5, 3), torch.randn(2, 7, 3)
    if kind == "softmax":
        name, numbers = "softmax_blocks", (8, 3)
        inputs = (torch.randn(2, 7, 3), torch.randn(2, 5, 3), values)
    else:
        name, numbers = "relu_sums", (8, True)
        inputs = (torch.randn(2, 7), torch.randn(2, 5), values)
    forward, backward = (getattr(torch.ops.videonl, n) for n in (name, f"{name}_backward"))
    kept = forward(*inputs, *numbers) if kind == "softmax" else ()
    checks = {"test_utils": ("test_schema", "test_faketensor")}
    torch.library.opcheck(forward.default, (*inputs, *numbers), **checks)
    torch.library.opcheck(backward.default, (grad, *inputs, *kept, *numbers), **checks)


@pytest.mark.parametrize(("kind", "form"), FORMS, ids=NAMES)
def test_second_derivatives_work_or_refuse_in_one_sentence(kind, form):
    case = moved(make(kind, (1, 6, 4, 3, 2, 2, 3)), "cpu", torch.float64, "channels_last")
    x, pooled, maps, affinity = case
    op = operands(kind, *case, joined=False)
    if form.name == "Triton tiles":
        pytest.skip("its own tests")

    def norm_of_gradient(compute):
        (first,) = torch.autograd.grad(compute().square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), (x, pooled))

    if form.name in ("fused attention", "blocks of queries", "sorted") and kind != "own":
        with pytest.raises(RuntimeError, match=r"^[^\n]*(reference|not implemented)[^\n]*$"):
            norm_of_gradient(lambda: form.compute(op))
        return
    found = norm_of_gradient(lambda: form.compute(op))
    expected = norm_of_gradient(lambda: loops(kind, x, pooled, maps, affinity))
    torch.testing.assert_close(found, expected)


def test_half_sums_on_a_cpu_run_in_float32():
    case = moved(make("dot_product", (1, 70, 33, 13, 7, 5, 13)), "cpu", torch.bfloat16, "last")
    op = operands("dot_product", *case, joined=True)
    found = non_local_sum(op, "fast")
    wide = non_local_sum(op.to(torch.float32), "fast")
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, wide.bfloat16())
