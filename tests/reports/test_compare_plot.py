from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.text import Text

from videonl.evaluation import Comparison, Row, Score
from videonl.reports import chart_of, draw_chart, save_chart

PROTOCOL = {
    "views": "10x3",
    "environment": {"processor": "a processor"},
    "data": {"root": "data/sample", "split": "test", "videos": 500},
}
# Costs of the paper's networks at 8×224² (GMACs), close together as in practice.
NETWORKS = {
    "c2d_r50": (19.8, 0),
    "c2d_r50_nl1": (21.0, 1),
    "c2d_r50_nl5": (25.2, 1),
    "c2d_r50_nl10": (30.1, 1),
    "i3d_r50": (28.7, 0),
    "i3d_r50_nl1": (29.9, 1),
    "i3d_r50_nl5": (34.0, 1),
    "slow_r50": (41.7, 0),
    "x3d_m": (4.7, 0),
    "r2plus1d_r50": (58.0, 0),
}


def comparison(correct: list[int], names: list[str]) -> Comparison:
    rows = []
    for name, right in zip(names, correct, strict=True):
        gmacs, non_local = NETWORKS[name]
        row = Row(name, clip_shape=(3, 8, 224, 224), params=1, macs=int(gmacs * 1e9))
        row.non_local_macs = non_local
        row.top1 = Score(right, 500).as_dict()
        row.inference = {"clips_per_second": 100 / gmacs, "low": 90 / gmacs, "high": 105 / gmacs}
        rows.append(row)
    return Comparison(rows, protocol=PROTOCOL)


@pytest.mark.parametrize(
    "correct",
    [
        [455, 460, 462, 465, 458, 461, 470, 463, 440, 466],
        [490] * 10,
        [100, 480, 482, 484, 101, 483, 485, 99, 98, 97],
    ],
)
def test_no_label_covers_another_label_or_a_marker(correct: list[int]) -> None:
    figure = draw_chart(comparison(correct, list(NETWORKS)))
    assert figure is not None
    figure.canvas.draw()
    axes = figure.axes[0]
    renderer = figure.canvas.get_renderer()
    for text in axes.texts:
        text.update_positions(renderer)
    boxes = {t.get_text(): Text.get_window_extent(t, renderer) for t in axes.texts}
    assert set(boxes) == set(NETWORKS)
    for (name, box), (other, second) in combinations(boxes.items(), 2):
        assert not box.overlaps(second), f"{name} covers {other}"
    chart = chart_of(comparison(correct, list(NETWORKS)))
    assert chart is not None
    for point in chart.points:
        x, y = axes.transData.transform((point.x, point.y))
        for name, box in boxes.items():
            assert not box.contains(x, y), f"{name} covers the marker of {point.name}"
    canvas = figure.bbox
    for name, box in boxes.items():
        assert box.x0 >= 0, name
        assert box.x1 <= canvas.x1, name


def test_axes_name_the_unit_the_input_and_the_convention(tmp_path: Path) -> None:
    table = comparison([450, 460], ["c2d_r50", "c2d_r50_nl5"])
    figure = draw_chart(table)
    assert figure is not None
    axes = figure.axes[0]
    assert "GFLOPs per view" in axes.get_xlabel()
    assert "8x224x224" in axes.get_xlabel()
    assert axes.get_ylabel() == "top-1 accuracy (%)"
    assert "500 videos" in axes.get_title("left")
    for row in table.rows:
        row.top1 = None
    figure = draw_chart(table)
    assert figure is not None
    assert figure.axes[0].get_ylabel() == "clips per second"
    assert save_chart(table, tmp_path / "a.png")


def test_wide_costs_are_drawn_on_a_logarithmic_axis() -> None:
    wide, narrow = ["x3d_m", "r2plus1d_r50"], ["c2d_r50", "c2d_r50_nl5"]
    figures = [draw_chart(comparison([450, 460], names)) for names in (wide, narrow)]
    assert [figure.axes[0].get_xscale() for figure in figures if figure] == ["log", "linear"]


def test_nothing_to_draw_chart(tmp_path: Path) -> None:
    table = Comparison([Row("a", error="no")], protocol=PROTOCOL)
    assert draw_chart(table) is None
    assert not save_chart(table, tmp_path / "a.png")
