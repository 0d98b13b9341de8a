"""What every test shares: one torch thread, and threads that leave the machine to others."""

import os
import shutil
import tempfile
from collections.abc import Iterator

# Read by torch and by the processes that tests start; before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE"  # so that precision "auto" is float32 anywhere

# No test reads or fills the cache of the person who runs it.
os.environ["VIDEONL_CACHE"] = tempfile.mkdtemp(prefix="videonl-cache-")

import pytest

from tests.scheduling import real_time_threads

CACHE = os.environ["VIDEONL_CACHE"]


@pytest.fixture(autouse=True)
def ordinary_scheduling() -> Iterator[None]:
    """No test may leave a real-time thread behind: two that spin own a small machine."""
    yield
    left = real_time_threads()
    assert not left, f"threads with real-time priority: {left}; did an encoder (SVT-AV1) run here?"


@pytest.fixture(scope="session", autouse=True)
def no_cache_left() -> Iterator[None]:
    """What the tests have stored goes with them."""
    yield
    shutil.rmtree(CACHE, ignore_errors=True)
