"""Cross-validation of the block on real videos: order, an early stop, what may be claimed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.small_data import FLAGS, write_small_data
from videonl.errors import VideoNLError

script = pytest.importorskip("benchmarks.cross_validated")
FOLDS = [f"fold-{n}" for n in range(1, 6)]
CLASSES = ["kick", "wave"]


def network(non_local: int) -> dict[str, Any]:
    return {
        "model": "tiny", "options": {}, "clip_shape": [3, 4, 32, 32], "params": 1000,
        "macs": 2000, "non_local_macs": non_local,
    }  # fmt: skip


def found(right: dict[str, int], *, folds: int, shortcut: float = 0.5) -> dict[str, Any]:
    """A result of 8 videos a fold; of each row so many of them are right in every fold."""
    trainings = [
        {
            "row": row, "seed": 0, "fold": fold, "seconds": 60.0,
            "answers": [
                [f"{fold}/{n}.avi", CLASSES[n % 2], CLASSES[(n + (n >= count)) % 2]]
                for n in range(8)
            ],
        }
        for row, count in right.items() for fold in FOLDS[:folds]
    ]  # fmt: skip
    return {
        "data": "real", "classes": CLASSES, "videos": 40, "folds": 5, "planned": 45,
        "shortcut": {"value": shortcut, "videos": 40}, "protocol": {"views": "1x1"},
        "networks": {row: network(int(row != script.PLAIN)) for row in right},
        "trainings": trainings,
    }  # fmt: skip


def flat(text: str) -> str:
    """Without the ends of lines."""
    return text.replace("\n", " ")


def test_the_first_seed_of_plain_and_block_comes_first_fold_by_fold() -> None:
    planned = list(script.order(FOLDS, [0, 1, 2]))
    assert planned[:3] == [
        (script.PLAIN, 0, "fold-1"), (script.BLOCK, 0, "fold-1"), (script.PLAIN, 0, "fold-2"),
    ]  # fmt: skip
    assert {seed for _, seed, _ in planned[: 5 * len(FOLDS)]} == {0}
    assert {row for row, *_ in planned[2 * 5 : 5 * 5]}.isdisjoint({script.PLAIN, script.BLOCK})
    assert len(set(planned)) == len(planned) == 5 * (2 * 3 + 3)


def test_what_is_not_beyond_the_files_alone_is_not_claimed() -> None:
    told = flat(script.markdown(found({script.PLAIN: 5, script.BLOCK: 6}, folds=5, shortcut=0.7)))
    assert told.startswith("10 of 45 planned trainings are in it, the others are still to be made;")
    assert "5 of 5 folds, 40 of 40 videos" in told
    assert "| plain | 0.001 | 0.000 (0.000) | 62.5 [" in told
    assert "| the most frequent class | – | – | 50.0 | – |" in told
    assert "bytes of the files | – | – | 70.0 (of all 40 videos) | – |" in told
    assert "Nothing is claimed: neither plain nor embedded Gaussian is" in told
    assert "adds" not in told


def test_beyond_them_there_is_a_verdict_over_folds() -> None:
    told = flat(script.markdown(found({script.PLAIN: 4, script.BLOCK: 8}, folds=5)))
    assert "On these 40 test videos in 5 groups the non-local block" in told
    assert "adds +50 points" in told


def test_an_early_stop_counts_the_folds_that_both_have(tmp_path: Path) -> None:
    early = found({script.PLAIN: 8, script.BLOCK: 8, "dot product": 8}, folds=3)
    early["trainings"] = [
        one for one in early["trainings"]
        if (one["row"], one["fold"]) not in {(script.BLOCK, "fold-3"), ("dot product", "fold-2")}
    ]  # fmt: skip
    comparison = script.comparison_of(early)
    assert [row.name for row in comparison.shown] == [script.PLAIN, script.BLOCK]
    assert comparison.protocol["data"]["split"] == "2 of 5 folds"
    assert comparison.protocol["data"]["videos"] == 16
    script.save_picture(early, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000
    assert json.loads(script.text_of(early)) == early
    early["trainings"] = early["trainings"][:1]
    told = flat(script.markdown(early))
    assert "both networks have answered 0 of 5 folds, 0 of 40 videos" in told
    assert "| plain" not in told


@pytest.mark.slow
def test_it_trains_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "AFFINITIES", {script.BLOCK: "embedded_gaussian"})  # two rows
    data = write_small_data(tmp_path / "data", train=4, val=0)
    result = tmp_path / "result.json"
    words = [str(data), "--folds", "2", "--group", r"(\d)\.mp4", "--seeds", "1"]
    words += ["--out", str(tmp_path / "out"), "--result", str(result), *FLAGS]
    words += ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    assert script.main(words) == 0
    made = json.loads(result.read_text())
    assert str(tmp_path) not in result.read_text()
    assert len(made["trainings"]) == made["planned"] == 4
    costs = {name: one["macs"] for name, one in made["networks"].items()}
    assert costs["plain"] == pytest.approx(costs["embedded Gaussian"], rel=0.1)
    tested = [a[0] for one in made["trainings"] if one["row"] == "plain" for a in one["answers"]]
    assert len(set(tested)) == len(tested) == 8
    capsys.readouterr()
    assert script.main(words) == 0
    assert capsys.readouterr().out.count("done before") == 4
    assert json.loads(result.read_text()) == made
    with pytest.raises(VideoNLError, match="was made with flags"):
        script.main([*words, "--recipe.warmup", "0.5"])
