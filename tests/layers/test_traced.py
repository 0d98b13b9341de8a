"""Blocks under torch.compile, torch.export and autocast, on odd inputs, and on two threads."""

import pytest
import torch
from torch import nn

from tests.marks import mostly_slow
from videonl.layers import AFFINITIES, NonLocalBlock


def make_block(affinity, **options):
    torch.manual_seed(0)
    block = NonLocalBlock(
        8, affinity=affinity, norm=None, zero_init=False, implementation="fast", **options
    )
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.4)
    return block


SOME = ("embedded_gaussian", "concatenation")  # with a matrix of weights, and without


@pytest.mark.parametrize("affinity", mostly_slow(AFFINITIES, quick=SOME))
def test_nan_spoils_the_same_in_compiled_and_autocast_blocks(affinity):
    block = make_block(affinity)
    x = torch.randn(2, 8, 2, 4, 4)
    x[0, 3, 1, 2, 2] = float("nan")
    with torch.no_grad():
        compiled = torch.compile(block, backend="aot_eager")(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = block(x)
        block.implementation = "reference"
        expected = block(x)
    assert not expected.isfinite().all()
    assert torch.equal(compiled.isnan(), expected.isnan())
    assert torch.equal(mixed.isnan(), expected.isnan())


@pytest.mark.parametrize("affinity", mostly_slow(AFFINITIES, quick=SOME))
def test_exports_with_any_batch_size(affinity):
    block = make_block(affinity).eval()
    batch = torch.export.Dim("batch", min=1, max=16)
    exported = torch.export.export(
        block, (torch.randn(2, 8, 2, 4, 4),), dynamic_shapes=({0: batch},)
    ).module()
    for size in (1, 5):
        x = torch.randn(size, 8, 2, 4, 4)
        torch.testing.assert_close(exported(x), block(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threads", mostly_slow([1, 2], quick=[2]))
@pytest.mark.parametrize("affinity", mostly_slow(AFFINITIES, quick=SOME))
def test_two_runs_are_bit_equal_with_one_thread_and_with_two(affinity, threads):
    block = NonLocalBlock(64, affinity=affinity, zero_init=False, implementation="fast")
    x = torch.randn(2, 64, 4, 16, 16)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        runs = []
        for _ in range(2):
            block.zero_grad()
            y = block(x)
            y.square().sum().backward()
            runs.append([y.detach(), *(p.grad.clone() for p in block.parameters())])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("inner", [64, 512])  # 512 is over the flash kernels' width
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_cuda_fast_form_equals_the_reference(affinity, dtype, inner):
    torch.manual_seed(0)
    block = NonLocalBlock(2 * inner, affinity=affinity, norm=None, zero_init=False).cuda().to(dtype)
    x = 0.1 * torch.randn(1, 2 * inner, 4, 14, 14, device="cuda", dtype=dtype)
    results = []
    for block.implementation in ("fast", "reference"):
        inputs = x.clone().requires_grad_()
        block(inputs).square().sum().backward()
        results.append(inputs.grad.float())
    assert (results[0] - results[1]).norm() < (1e-3 if dtype == torch.float32 else 3e-2) * results[
        1
    ].norm()
