import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.browser import Browser
from tests.reports.test_compare_plot import NETWORKS, comparison
from videonl.evaluation import Comparison, Row, paired_tests
from videonl.reports import comparison_page

CLASSES = ["same", "opposite", "perpendicular"]


@pytest.fixture
def table() -> Comparison:
    """Ten networks with accuracy, speed, confusion and answers, and one that failed."""
    found = comparison([455, 460, 462, 465, 458, 461, 470, 463, 440, 466], list(NETWORKS))
    found.class_names = CLASSES
    found.protocol = {
        **found.protocol,
        "convention": "FLOPs = 2 x MACs",
        "timing": {"rounds": 5, "batch_size": 1},
        "environment": {"processor": "p", "threads": 2, "versions": {"torch": "2.15.0"}},
    }
    data = {"unreadable": {}, "interval": "Wilson", **found.protocol["data"]}
    found.protocol["data"] = data
    for number, row in enumerate(found.rows):
        assert row.inference is not None
        row.inference = {**row.inference, "peak_memory": 10**8 * (1 + number)}
        row.confusion = [[150, 10, 7], [5, 160, 2], [1, 0, 165]]
        row.answers = [(f"{i}.mp4", "same", CLASSES[i % (2 + number) > 0]) for i in range(30)]
    found.tests = paired_tests(found.rows[:3])
    found.rows.append(
        Row("broken <b>", error="no network is named 'x' & <script>alert(1)</script>")
    )
    return found


class Tags(HTMLParser):
    """Collects the tags and checks that they close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_stands_alone_and_is_well_formed(table: Comparison) -> None:
    page = comparison_page(table)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    for tag, attributes in tags.seen:
        assert not {"src", "srcset", "data"} & set(attributes), tag
        assert (attributes.get("href") or "#").startswith(("#", "data:,")), tag
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page
    heads = re.findall("<h2[^>]*>(.*?)</h2>", page)
    real = "Are the differences real?"
    assert heads == ["Failed", "Measured", "Accuracy against cost", real, "Confusion", "Protocol"]


def test_names_and_reasons_are_escaped(table: Comparison) -> None:
    page = comparison_page(table)
    assert "<script>alert" not in page
    assert "broken <b>" not in page
    embedded = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert embedded is not None
    assert json.loads(embedded[1]) == json.loads(json.dumps(table.as_dict()))


def test_many_classes_are_shown_as_confused_pairs(table: Comparison) -> None:
    count = 60
    table.class_names = [f"class {i}" for i in range(count)]
    for row in table.rows[:2]:
        row.confusion = [[9 if i == j else 0 for j in range(count)] for i in range(count)]
        row.confusion[3][7] = 4
    page = comparison_page(table)
    assert 'class="matrix"' not in page
    assert '>class 3</td><td class="name">class 7</td><td class="number">4</td>' in page


def test_page_without_accuracy_and_without_rows() -> None:
    protocol = {"convention": "c", "views": "1x1", "environment": {}}
    empty = Comparison([Row("a", error="no")], protocol=protocol)
    page = comparison_page(empty)
    assert "<svg" not in page
    assert "Failed" in page


ROWS = "return [...document.querySelectorAll('#table tbody tr')].map(r => r.cells[0].textContent)"
ENTER = """
const name = document.querySelectorAll("#table tbody tr")[2].dataset.row;
document.querySelector(`${arguments[0]}[data-row="${name}"]`)
  .dispatchEvent(new PointerEvent("pointerenter"));
"""
LIT = """
return [...document.querySelectorAll(".lit")].map(node => node.localName + " " +
  (node.cells ? node.cells[0].textContent : node.querySelector("title").textContent.split(":")[0]));
"""
FOCUS = """
const buttons = [...document.querySelectorAll("#table th button")];
buttons.find(button => button.textContent === arguments[0]).focus();
"""
OVERLAPS = """
const boxes = [...document.querySelectorAll("#chart .name")].map(n => [n.textContent,
  n.getBoundingClientRect()]);
const chart = document.getElementById("chart").getBoundingClientRect(), found = [];
for (const [i, [name, a]] of boxes.entries()) {
  if (a.left < chart.left || a.right > chart.right + 1) found.push(name + " leaves the chart");
  for (const [other, b] of boxes.slice(i + 1))
    if (a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom)
      found.push(name + " covers " + other);
}
return found;
"""


@pytest.mark.browser
def test_page_in_a_real_browser(table: Comparison, tmp_path: Path, browser: Browser) -> None:
    path = tmp_path / "compare.html"
    path.write_text(comparison_page(table), encoding="utf-8")
    browser.open(path)
    assert browser.run("return document.title") == "videonl compare"
    assert browser.messages() == []
    names = list(NETWORKS)
    assert browser.run(ROWS) == names
    assert browser.run(OVERLAPS) == []
    assert browser.run("return document.querySelectorAll('#chart .point').length") == 10
    assert browser.run("return document.querySelectorAll('table.matrix').length") == 10
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    # The mouse on a row lights its point, and on a point its row.
    for kind in ("#table tbody tr", "#chart .point"):
        browser.run(ENTER, kind)
        assert browser.run(LIT) == [f"tr {names[2]}", f"g {names[2]}"]
        browser.run(ENTER.replace("enter", "leave"), kind)
        assert browser.run(LIT) == []
    # Sorting by the keyboard alone: upwards, then downwards.
    by_cost = sorted(names, key=lambda name: NETWORKS[name][0])
    browser.run(FOCUS, "GFLOPs/view")
    browser.press("\ue007")
    assert browser.run(ROWS) == by_cost
    browser.press(" ")
    assert browser.run(ROWS) == by_cost[::-1]
    browser.run(FOCUS, "model")
    browser.press("\ue007")
    assert browser.run(ROWS) == sorted(names)
    # A phone: the page itself does not scroll sideways.
    browser.be(375)
    wide = "return document.documentElement.scrollWidth <= 375"
    assert browser.run(wide)
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert browser.messages() == []
