"""The verdict in words: shown, not shown with its power, or none, and over which videos."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.inference.networks import NAMES, write_checkpoint
from tests.videos import write_video
from videonl.cli.main import main
from videonl.errors import VideoNLError
from videonl.evaluation import (
    Comparison,
    Row,
    Score,
    differences,
    markdown,
    verdict_words,
    video_groups,
)
from videonl.reports import comparison_page, draw_chart

CENSUS = {"same": 70, "opposite": 70, "other": 70}


def table(
    plain: float, block: float, *, seeds: int = 5, spread: float = 0.02, videos: int = 210
) -> Comparison:
    """Two networks that are right as often as asked, on the same videos."""
    generator = np.random.default_rng(1)
    rows = []
    for name, share, macs in (("i3d", plain, 100), ("i3d_nl2", block, 129)):
        for seed in range(seeds):
            right = generator.random(videos) < share + spread * generator.standard_normal()
            answers = [
                (f"{i}.mp4", "same", "same" if ok else "other") for i, ok in enumerate(right)
            ]
            row = Row(f"{name}, seed {seed}", params=1, macs=macs, group=name, seed=seed)
            row.non_local_macs = 29 if name.endswith("nl2") else 0
            row.top1, row.answers = Score(int(right.sum()), videos).as_dict(), answers
            row.clip_shape = (3, 4, 8, 8)
            rows.append(row)
    data = {"root": "d", "split": "test", "videos": videos, "census": CENSUS, "unreadable": {}}
    protocol = {"convention": "c", "views": "1x1", "data": {**data, "interval": "Wilson"}}
    protocol["environment"] = {}
    return Comparison(rows, differences=differences(rows), protocol=protocol)


def words(comparison: Comparison) -> str:
    (item,) = comparison.differences
    return verdict_words(item, comparison)


def test_a_difference_that_is_shown() -> None:
    text = words(table(0.6, 0.8))
    assert re.match(
        r"On these 210 test videos the non-local block \(i3d_nl2 against i3d\) adds "
        r"\+\d+\.\d points \[\+\d+\.\d, \+\d+\.\d\] \(5 seeds\) for 1\.29 x the cost: "
        r"shown\. p [=<] ",
        text,
    )
    assert "loses" in words(table(0.8, 0.6))
    assert "shown. p" in words(table(0.8, 0.6))


def test_one_that_is_not_shown_says_what_could_have_been_seen() -> None:
    comparison = table(0.7, 0.71, spread=0.04)
    text = words(comparison)
    assert re.search(r"not shown; a difference of \d+ points could have been seen with 80 %", text)
    assert re.search(r"(about \d+ test videos|\d+ seeds).* would show \d", text)
    assert markdown(comparison).count("not shown") == 1
    assert "not shown" in comparison_page(comparison)


def test_a_difference_that_is_written_as_none_is_no_loss() -> None:
    comparison = table(0.6, 0.8)
    (item,) = comparison.differences
    item.value = -0.0001
    assert "adds +0.0 points" in words(comparison)
    item.value = -0.001
    assert "loses 0.1 points" in words(comparison)


def test_one_seed_has_no_spread_and_says_so() -> None:
    comparison = table(0.5, 0.8, seeds=1)
    assert "±" not in str(comparison)
    assert "[+0.0, +0.0]" not in str(comparison)
    assert "(one training of each)" in words(comparison)
    assert "for these weights; another seed may differ" in words(comparison)


def test_no_verdict_while_nothing_beats_the_constant_answer() -> None:
    text = words(table(0.33, 0.35, spread=0.0))
    assert text.startswith("No verdict on i3d_nl2 against i3d: neither i3d (")
    assert "is shown to be better than a constant answer (33.3 %)" in text
    assert "--epochs" in text
    assert "No verdict" not in words(table(0.33, 0.6, spread=0.0)), "one of them has learned"


def test_bars_and_cells_carry_the_videos_uncertainty() -> None:
    comparison = table(0.6, 0.8, spread=0.0)
    first = comparison.shown[0].top1
    assert first is not None
    low, high = first["interval95"]
    assert 0.06 < high - low < 0.3
    assert low < first["value"] < high
    assert re.search(r"\d\.\d ± \d\.\d \[\d+\.\d, \d+\.\d\]", str(comparison))
    figure = draw_chart(comparison)
    assert figure is not None
    assert "95 % over seeds and videos" in figure.axes[0].get_title("left")


def test_an_old_result_without_intervals_is_still_drawn() -> None:
    comparison = table(0.6, 0.8)
    for row in comparison.rows:
        row.answers = []
    figure = draw_chart(comparison)
    assert figure is not None
    assert "range over seeds" in figure.axes[0].get_title("left")


def test_the_note_says_what_ends_the_trainings() -> None:
    found = table(0.5, 0.6)
    for trainer, words in (
        ({}, "Trained here: 10 epochs, with"),
        ({"max_steps": 50}, "Trained here: 50 steps, at most 10 epochs, with"),
        ({"max_epochs": -1, "max_steps": 50}, "Trained here: 50 steps, with"),
    ):
        found.protocol["training"] = {"epochs": 10, "seeds": [0], "trainer": trainer}
        assert words in str(found)


def test_groups_come_from_the_path() -> None:
    paths = ["d/test/a/cam1_0.mp4", "d/test/a/cam1_1.mp4", "d/test/b/cam2_0.mp4"]
    found = video_groups(paths, root="d", pattern=r"cam(\d)")
    assert list(found.values()) == ["1", "1", "2"]
    assert list(video_groups(paths, root="d", pattern=r"cam\d").values())[2] == "cam2"
    for pattern, reason in (("(", "not a reg"), ("set", "not match 'test/a/cam1"), ("c", "one")):
        with pytest.raises(VideoNLError, match=re.escape(reason)):
            video_groups(paths, root="d", pattern=pattern)


def test_compare_draws_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in NAMES:
        for number in range(2):
            write_video(tmp_path / "test" / name / f"cam{number}.mp4", 8)
    first = write_checkpoint(tmp_path, file="one.safetensors")
    second = write_checkpoint(tmp_path, file="two.safetensors", seed=2)
    argv = ["compare", str(first), str(second), "--data", str(tmp_path), "--no-speed"]
    argv += ["--views", "1x1", "--device", "cpu"]
    assert main([*argv, "--group", r"cam\d"]) == 0
    assert "over 2 groups of videos" in capsys.readouterr().out
    assert main([*argv, "--group", "sequence"]) == 2
    assert "--group 'sequence' does not match" in capsys.readouterr().err
    assert main(["compare", "tiny_i3d", "--group", "a"]) == 2
    assert "give --data too" in capsys.readouterr().err


def test_equal_cost_widens_the_plain_network(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["compare", "plain=tiny_i3d", "tiny_i3d_nl2", "--clip", "4x32", "--no-speed"]
    assert main([*argv, "--device", "cpu", "--equal-cost"]) == 0
    out = capsys.readouterr().out
    plain, block = re.findall(r"^(?:plain|tiny\S+) +4x32x32 +\S+ +(\S+)", out, re.MULTILINE)
    assert float(plain) == pytest.approx(float(block), rel=0.12)
    assert "plain to a width of " in out
    for entries, words in (
        (["tiny_i3d", "tiny_c2d"], "one of each"),
        (["x3d_m", "tiny_i3d_nl2"], "x3d_m has no option 'width'"),
    ):
        options = ["--clip", "16x160", "--no-speed", "--equal-cost"]
        assert main(["compare", *entries, *options]) == 2
        assert words in capsys.readouterr().err


def test_input_says_how_frames_are_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_checkpoint(tmp_path)
    assert main(["compare", str(path), "--views", "1x1", "--no-speed", "--device", "cpu"]) == 0
    assert re.search(r"4x16x16, stride \d", capsys.readouterr().out)
