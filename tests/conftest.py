"""What every test shares: one torch thread, and threads that leave the machine to others."""

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

# Read by torch and by the processes that tests start; before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE"  # so that precision "auto" is float32 anywhere

# No test reads or fills the cache of the person who runs it.
os.environ["VIDEONL_CACHE"] = tempfile.mkdtemp(prefix="videonl-cache-")

import pytest

from tests.browser import Browser
from tests.browser import open_browser as browser_or_skip
from tests.scheduling import real_time_threads

CACHE = os.environ["VIDEONL_CACHE"]
PLOTS = {"plot_curves", "plot_confusion"}  # which every training calls


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


@pytest.fixture(scope="session", autouse=True)
def plots_once() -> Iterator[list[bool]]:
    """Every small training draws the same two pictures: in full once per process, then a copy.

    Yields:
        Whether copies are allowed, as the only entry.
    """
    from matplotlib.figure import Figure

    drawn: dict[str, bytes] = {}
    draw, copies = Figure.savefig, [True]

    def save(figure: Figure, stream: Any, **options: Any) -> None:
        name = sys._getframe(1).f_code.co_name
        if name not in PLOTS or not copies[0]:
            return draw(figure, stream, **options)
        if name not in drawn:
            draw(figure, picture := io.BytesIO(), **options)
            drawn[name] = picture.getvalue()
        stream.write(drawn[name])
        return None

    Figure.savefig = save  # type: ignore[method-assign]
    yield copies
    Figure.savefig = draw  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def open_browser() -> Iterator[Browser]:
    """One for all tests of a process: a start takes seconds."""
    with browser_or_skip() as browser:
        yield browser


@pytest.fixture
def browser(open_browser: Browser) -> Browser:
    """A headless Chromium, as new; the test is skipped where there is none."""
    open_browser.forget()
    return open_browser


@pytest.fixture
def real_plots(plots_once: list[bool]) -> Iterator[None]:
    """For tests that look at the pictures."""
    plots_once[0] = False
    yield
    plots_once[0] = True
