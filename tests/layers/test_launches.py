"""How much runs in a training step: operators launched on a GPU, and calls of this project."""

import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import videonl
from videonl.layers import AFFINITIES, NonLocalBlock

PACKAGE = Path(videonl.__file__).parent
# Calls that look at memory in another shape or take some, and launch nothing.
VIEWS = {
    "device",
    "empty",
    "new_empty",
    "view",
    "_unsafe_view",
    "t",
    "transpose",
    "permute",
    "unsqueeze",
    "squeeze",
    "expand",
}
VIEWS |= {"split", "split_with_sizes", "slice", "select", "detach", "alias", "as_strided"}


class Launches(TorchDispatchMode):
    """Notes every operator that is no view."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._overloadpacket.__name__
        if name not in VIEWS:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("affinity", "limit"),
    [("gaussian", 32), ("embedded_gaussian", 36), ("dot_product", 36)],
)
def test_a_step_in_bfloat16_launches_few_operators(affinity, limit, monkeypatch):
    """Over fake tensors, without what a CPU does for half types; the path is that of CUDA."""
    monkeypatch.setattr("videonl.kernels.HALF", ())
    counted = Launches()
    with FakeTensorMode():
        block = NonLocalBlock(512, affinity=affinity)
        x = torch.randn(2, 512, 4, 28, 28).contiguous(memory_format=torch.channels_last_3d)
        x.requires_grad_()
        with counted, torch.autocast("cpu", dtype=torch.bfloat16):
            z = block(x)
        grad = torch.ones_like(z)
        with counted:
            z.backward(grad)
    assert len(counted.names) <= limit, counted.names


def project_calls(block, x):
    """(calls of this project's functions, files they stand in) of a step, both passes."""
    seen = []

    def watch(frame, event, _):
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(str(PACKAGE)):
            seen.append((name, frame.f_code.co_qualname))

    sys.setprofile(watch)
    try:
        block(x).sum().backward()
    finally:
        sys.setprofile(None)
    return seen


@pytest.mark.parametrize("affinity", AFFINITIES)
@pytest.mark.parametrize(
    ("implementation", "calls", "files"), [("reference", 25, 3), ("auto", 45, 6), ("fast", 45, 6)]
)
def test_a_step_can_be_followed(affinity, implementation, calls, files):
    block = NonLocalBlock(64, affinity=affinity, implementation=implementation)
    x = torch.randn(1, 64, 4, 8, 8, requires_grad=True)
    seen = project_calls(block, x)
    assert len(seen) <= calls, [name for _, name in seen]
    assert len({name for name, _ in seen}) <= files, {name for name, _ in seen}
