"""Memory is linear in the number of positions, up to maps where the reference form cannot run."""

import subprocess
import sys

import pytest

STEP = """
import ctypes, pathlib, sys, torch
from videonl.layers import NonLocalBlock
affinity, channels, frames, size, backward = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(1)
block = NonLocalBlock(channels, affinity=affinity, zero_init=False, implementation="fast")
x = 0.1 * torch.randn(1, channels, frames, size, size)
def status(name):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024
def step():
    if backward:
        block(x.requires_grad_()).sum().backward()
    else:
        with torch.no_grad():
            block(x)
ctypes.CDLL("libc.so.6").mallopt(-3, 65536)
pathlib.Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
step()
print(status("VmHWM") - before)
"""


def peak(affinity, *, channels, frames, size, backward=1):
    """MiB of one step in a fresh process, on top of the block and its input."""
    arguments = [affinity, *map(str, (channels, frames, size, backward))]
    run = [sys.executable, "-c", STEP, *arguments]
    return float(subprocess.run(run, capture_output=True, text=True, check=True).stdout)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory from /proc"),
]


@pytest.mark.parametrize("affinity", ["embedded_gaussian", "dot_product", "concatenation"])
def test_four_times_the_positions_take_four_times_the_memory(affinity):
    """The N x M matrix would take 16 times: 0.6 GiB and then 9.4 GiB."""
    small = peak(affinity, channels=64, frames=8, size=56)
    large = peak(affinity, channels=64, frames=32, size=56)
    assert large < 5 * small
    assert large < 600


@pytest.mark.parametrize("affinity", ["dot_product", "concatenation"])
def test_trains_at_res2_with_128_frames(affinity):
    """N = 401 408 and M = 100 352: the matrix alone would be 150 GiB; a map is 196 MiB."""
    assert peak(affinity, channels=128, frames=128, size=56) < 2000
