"""Every page that videonl writes, in a real browser, at a desk and on a phone; and its pictures.

VIDEONL_PICTURES=FOLDER keeps what is seen, for who wants to look.
"""

import os
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from tests.browser import Browser
from tests.reports.gallery import PAGES, PICTURES, Studio

PROBE = (Path(__file__).parent / "readable.js").read_text(encoding="utf-8")
WIDTHS = (1200, 390)
QUICK = {"timeline", "compared", "server", "segments", "one_epoch", "two_classes", "chart"}
OPEN = "for (const part of document.querySelectorAll('details')) part.open = true; "


def each(names: Iterable[str]) -> list[Any]:
    """A test of each; those that are not ``QUICK`` are slow."""
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.mktemp("studio"))


@pytest.mark.browser
@pytest.mark.parametrize("name", each(PAGES))
def test_a_person_can_read_it(name: str, studio: Studio, browser: Browser) -> None:
    page, file = PAGES[name], studio.folder / f"{name}.html"
    file.write_text(page.make(studio), encoding="utf-8")
    found = []
    for width in WIDTHS:
        for dark in (False, True)[: 1 + page.dark]:
            browser.be(width, dark=dark)
            for number, state in enumerate(page.states):
                browser.open(file)
                browser.run(OPEN + state)
                where = f"{width} px{', dark' * dark}{f', state {number}' * bool(number)}"
                found += [f"{where}: {words}" for words in browser.run(PROBE)]
                keep(browser, f"{name}_{number}_{width}{'_dark' * dark}")
    found += browser.messages()
    assert not found, "\n".join([name, *found])


def keep(browser: Browser, name: str) -> None:
    if folder := os.environ.get("VIDEONL_PICTURES"):
        browser.screenshot(Path(folder) / f"{name}.png", whole=True)


@pytest.mark.parametrize("name", each(PICTURES))
def test_words_of_a_picture(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    save = Figure.savefig

    def kept(self: Figure, *args: object, **options: object) -> None:
        figures.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", kept)
    folder = Path(os.environ.get("VIDEONL_PICTURES", tmp_path))
    PICTURES[name](folder / f"{name}.png")
    (figure,) = figures
    figure.canvas.draw()
    hidden: set[Text] = set()
    for axis in [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]:
        low, high = sorted(axis.get_view_interval())
        ticks = {tick.label1: tick.get_loc() for tick in axis.get_major_ticks()}
        hidden |= {label for label, place in ticks.items() if not low <= place <= high}
        labels = [label for label in ticks if label not in hidden and label.get_text()]
        across = 0 if axis.axis_name == "x" else 1
        boxes = [label.get_window_extent().get_points()[:, across] for label in labels]
        ends = sorted(map(tuple, boxes))
        assert all(a[1] <= b[0] + 1 for a, b in pairwise(ends)), f"words of an axis of {name}"
    shown = {text for text in figure.findobj(Text) if text.get_visible() and text.get_text()}
    inches = min(1000 / figure.get_figwidth(), 140)  # pixels of one, on a page
    for text in shown - hidden:
        words, box = text.get_text(), text.get_window_extent()
        assert text.get_fontsize() * inches / 72 >= 11, words
        assert figure.bbox.x0 - 1 <= box.x0 and box.x1 <= figure.bbox.x1 + 1, words  # noqa: PT018
        assert figure.bbox.y0 - 1 <= box.y0 and box.y1 <= figure.bbox.y1 + 1, words  # noqa: PT018
