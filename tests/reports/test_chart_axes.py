"""The chart of accuracy against cost: an honest axis, the constant answer, the same in the page."""

import re
import warnings
from pathlib import Path

import pytest

from tests.reports.test_compare_plot import comparison
from videonl.evaluation import Comparison
from videonl.reports import comparison_page, draw_chart, write_comparison

NASTY = "a|b <b> $x^2$ \"q\" 's' & \\ `c` _d_ \x1b[2J \udce9 \u202e跳"


def two(correct: tuple[int, int] = (450, 460), **census: int) -> Comparison:
    table = comparison(list(correct), ["c2d_r50", "c2d_r50_nl1"])
    machine = {"processor": "p", "threads": 1, "versions": {"torch": "2"}}
    data = {**table.protocol["data"], "census": census, "unreadable": {}, "interval": "Wilson"}
    timing = {"batch_size": 1, "rounds": 1}
    said = {"environment": machine, "data": data, "timing": timing, "convention": "c"}
    table.protocol = {**table.protocol, **said}
    for row in table.rows:
        assert row.inference is not None
        row.inference["peak_memory"] = 1
    return table


def test_costs_that_are_close_stand_close() -> None:
    figure = draw_chart(two())
    assert figure is not None
    low, high = figure.axes[0].get_xlim()
    assert low == 0
    assert (42.0 - 39.6) / (high - low) < 0.06


@pytest.mark.parametrize(
    ("census", "seen"), [({"a": 400, "b": 100}, True), ({"a": 5, "b": 5, "c": 490}, True),
                         (dict.fromkeys("abcdefghij", 50), False), ({}, None)],
)  # fmt: skip
def test_the_constant_answer_is_a_line(census: dict[str, int], seen: bool | None) -> None:
    figure = draw_chart(two(**census))
    assert figure is not None
    axes = figure.axes[0]
    lines = [line for line in axes.lines if str(line.get_label()).startswith("always")]
    assert len(lines) == (seen is not None)
    if seen is not None:
        value = 100 * max(census.values()) / 500
        assert f"{value:.1f} %" in str(lines[0].get_label())
        assert ("below this axis" in str(lines[0].get_label())) is not seen
        low, high = axes.get_ylim()
        assert bool(low < value < high) is seen
        assert lines[0].get_label() in [t.get_text() for t in axes.get_legend().get_texts()]


@pytest.mark.parametrize("found", [{"value": 0.85}, {"value": 0.05}, "not measured: too few", None])
def test_the_shortcut_is_a_line_beside_it(found: object) -> None:
    table = two(a=400, b=100)
    table.protocol["data"]["shortcut"] = found
    figure = draw_chart(table)
    assert figure is not None
    labels = [str(line.get_label()) for line in figure.axes[0].lines]
    drawn = [label for label in labels if label.startswith("from size, rate")]
    assert len(drawn) == isinstance(found, dict)
    if isinstance(found, dict):
        assert f"{100 * found['value']:.1f} %" in drawn[0]
        assert ("below this axis" in drawn[0]) is (found["value"] < 0.5)


def test_the_page_holds_the_same_chart() -> None:
    table = two(a=400, b=100)
    figure = draw_chart(table)
    assert figure is not None
    (svg,) = re.findall(r'<svg .*?id="chart".*?</svg>', comparison_page(table), re.DOTALL)
    axes = figure.axes[0]
    ticks = [label.get_text() for label in axes.get_xticklabels() if label.get_text() != "56"]
    for text in (axes.get_xlabel(), axes.get_ylabel(), axes.get_title("left"), *ticks):
        assert f">{text}</text>" in svg
    assert "always the most frequent class: 80.0 %" in svg
    assert svg.count('class="point"') == svg.count('class="name"') == 2
    assert "c2d_r50: 90.0 % [" in svg


def test_a_nasty_name_breaks_no_format(tmp_path: Path) -> None:
    table = two(a=400, b=100)
    table.rows[0].name = NASTY
    table.rows[1].error = "<script>alert(1)</script> | \x07"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = [path.name for path in write_comparison(table, tmp_path)]
    assert "compare.png" in names
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "a|b &lt;b&gt; $x^2$ &#34;q&#34; &#39;s&#39; &amp; \\ `c`" in page
    for raw in ("\x1b", "\x07", "\udce9", "\u202e"):
        assert raw not in page
    text = (tmp_path / "compare.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")][:4]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "<b>" not in text
    assert r"a\|b &lt;b> \$x^2\$" in text
