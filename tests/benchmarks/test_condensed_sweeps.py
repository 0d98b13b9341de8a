"""What is kept of a comparison: no folder of a machine, which videos were right, every seed."""

import importlib.util
import json
from pathlib import Path

import pytest

from videonl.errors import VideoNLError
from videonl.evaluation import Comparison, Row, differences, verdict_words

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "sweeps.py"
ANSWERS = {  # of four videos; x: not read
    ("plain", 0): "1100", ("block", 0): "1110", ("plain", 1): "1000", ("block", 1): "111x",
}  # fmt: skip


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("sweeps", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def comparison(seeds, *, epochs=3, root="/some/where/clips", width=500_000):
    """Two small networks, one training of each per seed."""
    rows = []
    for seed in seeds:
        for group in ("plain", "block"):
            given = {"1": "wave", "0": "jump", "x": ""}
            answers = [
                (f"{root}/test/{place}.mp4", "wave", given[mark])
                for place, mark in enumerate(ANSWERS[group, seed])
            ]
            right = ANSWERS[group, seed].count("1")
            top1 = {"correct": right, "total": 4, "value": right / 4, "wilson95": [0.1, 0.9]}
            rows.append(
                Row(
                    f"{group}, seed {seed}", "tiny_i3d", clip_shape=(3, 4, 48, 48), params=width,
                    macs=10**9, non_local_macs=10**7 * (group == "block"), top1=top1,
                    answers=answers, group=group, seed=seed,
                )
            )  # fmt: skip
    data = {"root": root, "split": "test", "videos": 4, "census": {"wave": 2, "jump": 2}}
    training = {"epochs": epochs, "seeds": list(seeds)}
    protocol = {
        "data": data, "training": training, "views": "1x1", "environment": {"cores": len(seeds)}
    }  # fmt: skip
    return Comparison(rows, differences=differences(rows), protocol=protocol)


def keep(script, tmp_path, found):
    (tmp_path / "mine").mkdir(parents=True, exist_ok=True)
    (tmp_path / "mine" / "compare.json").write_text(json.dumps(found.as_dict()))
    assert script.main([str(tmp_path / "mine"), "--results", str(tmp_path)]) == 0
    return json.loads((tmp_path / "sweep_mine.json").read_text())


def test_a_comparison_without_paths_and_with_the_verdict_as_it_was_told(script, tmp_path, capsys):
    told = comparison([0, 1])
    content = keep(script, tmp_path, told)
    assert "/some/where" not in (tmp_path / "sweep_mine.json").read_text()
    assert [row["right"] for row in content["trainings"]] == ["1100", "1110", "1000", "111-"]
    (item,) = told.differences
    assert content["verdict"] == [verdict_words(item, told)]
    assert content["differences"] == [json.loads(json.dumps(item.as_dict()))]
    assert "| plain | 0.500 | 1.000 (2.000) | 37.5 ± 17.7 | 50, 25 |" in capsys.readouterr().out


def test_seeds_that_are_added_elsewhere_make_the_same_table(script, tmp_path):
    together = keep(script, tmp_path / "one", comparison([0, 1]))
    keep(script, tmp_path / "two", comparison([1]))
    apart = keep(script, tmp_path / "two", comparison([0], root="/else/clips"))
    machines = [each.pop("environments") for each in (together, apart)]
    assert apart == together
    assert machines == [[{"cores": 2}], [{"cores": 1}]]
    again = keep(script, tmp_path / "two", comparison([0], root="/else/clips"))
    again.pop("environments")
    assert again == together


@pytest.mark.parametrize(
    ("other", "words"),
    [({"epochs": 4}, "of epochs 4, not 3"), ({"width": 9}, "of another network 'plain'"),
     ({"root": "/a/b"}, "of data")],
)  # fmt: skip
def test_trainings_of_another_question_are_not_mixed_in(script, tmp_path, other, words):
    keep(script, tmp_path, comparison([1], **other))
    with pytest.raises(VideoNLError, match=f"sweep_mine.json has trainings {words}.*remove it"):
        keep(script, tmp_path, comparison([0]))
    keep(script, tmp_path, comparison([0, 1]))  # stands in the place of all of them


def test_trainings_without_their_answers_are_not_dropped(script, tmp_path):
    content = keep(script, tmp_path, comparison([1]))
    for row in content["trainings"]:
        del row["right"]
    (tmp_path / "sweep_mine.json").write_text(json.dumps(content))
    with pytest.raises(VideoNLError, match="trainings without their answers"):
        keep(script, tmp_path, comparison([0]))


def test_a_training_that_failed_is_named_and_nothing_is_written(script, tmp_path):
    found = comparison([0, 1])
    found.rows[1].error = "training: no space left"
    with pytest.raises(VideoNLError, match=r"block, seed 0 has no result \(training: no space"):
        keep(script, tmp_path, found)
    assert not (tmp_path / "sweep_mine.json").exists()
