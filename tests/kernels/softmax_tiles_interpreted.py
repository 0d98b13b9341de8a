"""The Triton tiles against float64: on a CPU under Triton's interpreter, on a GPU as they are.

``test_softmax_tiles`` runs this file in a process of its own, since the interpreter must be asked
for (``TRITON_INTERPRET=1``) before anything imports Triton.
"""

import os

import pytest
import torch

from tests.marks import mostly_slow
from videonl.kernels import softmax_tiles, softmax_tiles_triton

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
HALF, BRAIN, FULL = torch.float16, torch.bfloat16, torch.float32
LIMITS = {HALF: 2e-3, BRAIN: 1.6e-2, FULL: 3e-6 if INTERPRETED else 2e-3}  # of the norms; TF32
CLOSE = {"rtol": 1e-4, "atol": 1e-5} if INTERPRETED else {"rtol": 1e-2, "atol": 1e-2}
SIZES = {  # (B, N, M, C, D) -> whether it is slow
    (2, 70, 33, 48, 24): False,  # nothing is a multiple of a tile
    (3, 1, 50, 3, 17): False,  # one query
    (1, 130, 1, 17, 40): False,  # one key: the weights are 1
    (1, 130, 70, 512, 256): True,  # steps of C
    (1, 20, 36, 512, 512): True,  # and parts of D
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*(encountered|batching rule).*"),  # NaN; slow, not wrong
]


@pytest.fixture(autouse=True)
def bf16_products(monkeypatch):
    """Triton's interpreter keeps bf16 as uint16 and multiplies the bits; widen them first."""
    if not INTERPRETED:
        return
    import numpy as np
    import triton.language as tl
    from triton.runtime import interpreter

    plain = interpreter.InterpreterBuilder.create_dot

    def widened(handle):
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        bits = np.ascontiguousarray(handle.data).astype(np.uint32) << 16
        return interpreter.TensorHandle(bits.view(np.float32), tl.float32)

    def create_dot(self, a, b, *rest):
        return plain(self, widened(a), widened(b), *rest)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)


def make(size, dtype, spread=1.0):
    """Queries, keys, values, the gradient of the result, the scale."""
    batch, count, keys, c, d = size
    torch.manual_seed(0)
    shapes = ((batch, count, c), (batch, keys, c), (batch, keys, d), (batch, count, d))
    return *((spread * torch.randn(s)).to(DEVICE, dtype) for s in shapes), c**-0.5


def exact(q, k, v, grad, scale):
    q, k, v = (t.detach().double().requires_grad_() for t in (q, k, v))
    out = torch.softmax(q @ k.mT * scale, -1) @ v
    return out.detach(), *torch.autograd.grad(out, (q, k, v), grad.double())


def tiles(q, k, v, grad, scale):
    leaves = [t.detach().requires_grad_() for t in (q, k, v)]
    out = softmax_tiles.attend(*leaves, scale=scale)
    return out.detach(), *torch.autograd.grad(out, leaves, grad)


def check(found, wanted, limit):
    for name, a, b in zip(("out", "dq", "dk", "dv"), found, wanted, strict=True):
        # What is exactly zero, as the gradients of the scores of a single key, is so to rounding.
        size = b.norm() if b.norm() > 1e-9 else b.numel() ** 0.5
        assert (a.double() - b).norm() <= limit * size, name
        assert a.is_contiguous(), name


# Half types at one size by default: the interpreter takes its time.
@pytest.mark.parametrize(
    ("size", "dtype"),
    [
        pytest.param(size, dtype, marks=[pytest.mark.slow] * (slow or not told))
        for size, slow in SIZES.items()
        for dtype in LIMITS
        for told in [dtype == FULL or size == (2, 70, 33, 48, 24)]
    ],
    ids=str,
)
def test_result_and_gradients(size, dtype):
    inputs = make(size, dtype)
    found = tiles(*inputs)
    assert all(t.dtype == dtype for t in found)
    check(found, exact(*inputs), LIMITS[dtype])


@pytest.mark.parametrize("dtype", mostly_slow([HALF, FULL], quick=[FULL]), ids=str)
def test_many_blocks_of_queries_and_of_samples_add_up(dtype, monkeypatch):
    monkeypatch.setattr(softmax_tiles_triton, "ENTRIES", 2 * 128 * 33)  # two samples, 128 queries
    inputs = make((3, 150, 33, 16, 24), dtype)
    check(tiles(*inputs), exact(*inputs), LIMITS[dtype])


def test_any_strides():
    q, k, v, grad, scale = make((2, 20, 12, 16, 16), FULL)
    wanted = exact(q, k, v, grad, scale)
    columns = [t.mT.contiguous().mT for t in (q, k, v, grad)]  # as in channels first
    apart = [torch.stack((t, t), 2)[:, :, 0] for t in (q, k, v, grad)]  # every other row
    check(tiles(*columns, scale), wanted, LIMITS[FULL])
    check(tiles(*apart, scale), wanted, LIMITS[FULL])
    same = q[:1].expand(2, -1, -1)
    check(tiles(same, k, v, grad, scale), exact(same, k, v, grad, scale), LIMITS[FULL])


@pytest.mark.slow
def test_large_logits_keep_their_float32_scores():
    q, k, v, grad, _ = make((1, 64, 64, 64, 32), HALF, spread=2.0)
    wanted = exact(q, k, v, grad, 1.0)[0]
    found = softmax_tiles.attend(q, k, v, scale=1.0)
    literal = torch.softmax(q @ k.mT, -1) @ v
    assert (found - wanted).norm() < 0.5 * (literal - wanted).norm()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["none", "some", "first tile", "all"])
@pytest.mark.parametrize("value", [float("-inf"), float("inf"), float("nan")])
def test_what_is_not_finite_ends_as_in_the_softmax_of_torch(place, value):
    q, k, v, grad, _ = make((1, 9, 150, 4, 5), FULL)
    q[..., 0], k[..., 0] = 1.0, 0.0
    chosen = {"none": [], "some": [3, 149], "first tile": range(64), "all": range(150)}[place]
    k[:, list(chosen), 0] = value
    leaves = [t.detach().requires_grad_() for t in (q, k, v)]
    wanted = torch.softmax(leaves[0] @ leaves[1].mT, -1) @ leaves[2]
    wanted = (wanted.detach(), *torch.autograd.grad(wanted, leaves, grad))
    for a, b in zip(tiles(q, k, v, grad, 1.0), wanted, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True, **CLOSE)


def test_nothing_to_add_up():
    for count, keys in ((0, 3), (3, 0)):
        q, k, v, grad, scale = make((2, count, keys, 4, 5), FULL)
        for a, b in zip(tiles(q, k, v, grad, scale), exact(q, k, v, grad, scale), strict=True):
            assert a.shape == b.shape
            assert not a.any()


@pytest.mark.slow
def test_autocast_around_the_backward_pass_changes_nothing():
    q, k, v, grad, scale = make((1, 20, 12, 16, 16), FULL)
    with torch.autocast(DEVICE, dtype=BRAIN):
        found = tiles(q, k, v, grad, scale)
    check(found, exact(q, k, v, grad, scale), LIMITS[FULL])


@pytest.mark.slow
def test_second_order_gradients_are_refused_in_a_sentence():
    q, k, v, _, scale = make((1, 5, 4, 16, 16), FULL)
    q.requires_grad_()
    (first,) = torch.autograd.grad(
        softmax_tiles.attend(q, k, v, scale=scale).square().sum(), q, create_graph=True
    )
    with pytest.raises(RuntimeError, match=r"no second-order gradients; use .*reference"):
        first.sum().backward()


@pytest.mark.slow
def test_function_transforms():
    q, k, v, grad, scale = make((2, 9, 7, 16, 16), FULL)
    wanted = exact(q, k, v, grad, scale)

    def loss(q, k, v, grad):
        return (softmax_tiles.attend(q[None], k[None], v[None], scale=scale)[0] * grad).sum()

    found = torch.func.vmap(torch.func.grad(loss, (0, 1, 2)))(q, k, v, grad)
    for a, b in zip(found, wanted[1:], strict=True):
        torch.testing.assert_close(a, b.float(), **CLOSE)


@pytest.mark.slow
def test_the_operators_are_well_formed():
    q, k, v, _, scale = make((2, 9, 7, 16, 24), FULL)
    rows = tuple(t.requires_grad_() for t in (q, k, v))
    out, log_sum = torch.ops.videonl.softmax_tiles(*rows, scale)
    checks = ("test_schema", "test_faketensor")
    operator = torch.ops.videonl
    torch.library.opcheck(operator.softmax_tiles.default, (*rows, scale), test_utils=checks)
    torch.library.opcheck(
        operator.softmax_tiles_backward.default,
        (out.detach(), *rows, out.detach(), log_sum.detach(), scale),
        test_utils=checks,
    )


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_graph_is_whole(backend):
    compiled = torch.compile(
        lambda q, k, v: 2 * softmax_tiles.attend(q, k, v, scale=0.3),
        backend=backend,
        fullgraph=True,
    )
    for count in (9, 20, 33):
        q, k, v, grad, _ = make((2, count, 7, 16, 24), FULL)
        leaves = [t.requires_grad_() for t in (q, k, v)]
        out = compiled(*leaves)
        found = out.detach() / 2, *torch.autograd.grad(out, leaves, 0.5 * grad)
        check(found, exact(q, k, v, grad, 0.3), LIMITS[FULL])
