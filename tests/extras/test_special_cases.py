"""The benchmark of detection: equal costs, known precisions, and no training made twice."""

import json
from pathlib import Path

import pytest
import torch

from examples import detection
from videonl.errors import VideoNLError
from videonl.evaluation import count_cost

pytestmark = pytest.mark.extras
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def special_cases(monkeypatch):
    pytest.importorskip("pycocotools", reason="see make test-extras")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import special_cases

    return special_cases


@pytest.mark.parametrize("task", detection.TASKS)
def test_the_rows_cost_the_same_and_differ_where_the_blocks_are(special_cases, task):
    counts = [
        count_cost(special_cases.OnePicture(make(task)), special_cases.PICTURE)
        for make in special_cases.ROWS.values()
    ]
    assert counts[0].macs == pytest.approx(counts[1].macs, rel=0.01)
    assert not counts[0].blocks
    assert len(counts[1].blocks) == {"masks": 1, "keypoints": 5}[task]


@pytest.mark.parametrize("task", detection.TASKS)
def test_the_stand_ins_are_the_identity_at_first(special_cases, task):
    torch.manual_seed(0)
    net = special_cases.with_convolutions(task).eval()
    stand_ins = [m for m in net.modules() if isinstance(m, special_cases.Residual)]
    assert len(stand_ins) == {"masks": 1, "keypoints": 5}[task]
    for stand_in in stand_ins:
        x = torch.rand(2, stand_in.convolutions[0].in_channels, 5, 5)
        assert torch.equal(stand_in(x), x)


class Answers(torch.nn.Module):
    """Answers what it was given, one picture after the other."""

    def __init__(self, answers):
        super().__init__()
        self.answers = iter(answers)

    def forward(self, _images):
        return [next(self.answers)]


@pytest.mark.parametrize("task", detection.TASKS)
def test_right_answers_have_precision_1_and_wrong_classes_or_points_less(special_cases, task):
    def answers(shift, label):
        _, targets = detection.make_images(8, torch.Generator().manual_seed(12345))
        for target in targets:
            target["scores"] = torch.ones(2)
            target["masks"] = target["masks"][:, None].float()
            target["labels"] = target["labels"] if label is None else torch.full((2,), label)
            target["keypoints"][..., :2] += shift
        return Answers(targets)

    kind = {"masks": "mask", "keypoints": "keypoint"}[task]
    right = special_cases.precisions(answers(0, None), task, pictures=8)
    assert right == {"box": pytest.approx(1), kind: pytest.approx(1)}
    one_class = special_cases.precisions(answers(0, 1), task, pictures=8)
    assert one_class["box"] < 0.6
    if task == "keypoints":
        moved = special_cases.precisions(answers(6, None), task, pictures=8)
        assert moved["box"] == pytest.approx(1)
        assert moved["keypoint"] < 0.2


def test_a_second_run_makes_only_what_is_missing_and_the_table_holds_all(
    special_cases, tmp_path, capsys
):
    import special_cases_plot

    result = tmp_path / "result.json"
    short = ["--steps", "2", "--pictures", "4", "--result", str(result)]
    assert special_cases.main([*short, "--seeds", "1"]) == 0
    first = json.loads(result.read_text())
    assert len(first["trainings"]) == 4
    assert special_cases.main([*short, "--seeds", "2"]) == 0
    second = json.loads(result.read_text())
    assert second["trainings"][:4] == first["trainings"]
    assert len(second["trainings"]) == 8
    assert special_cases_plot.table(second) in capsys.readouterr().out
    assert "[" in special_cases_plot.gain(second, "masks", "box")
    special_cases_plot.draw(second, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
    with pytest.raises(VideoNLError, match="--result"):
        special_cases.main(["--steps", "3", "--result", str(result)])
