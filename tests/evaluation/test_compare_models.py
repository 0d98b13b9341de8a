import csv
import json
import re
import shutil
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import videonl
from tests.inference.networks import NAMES, PREPROCESSING, write_checkpoint
from tests.videos import write_video
from videonl import Predictor, count_cost
from videonl.errors import DatasetError, VideoNLError
from videonl.evaluation import (
    Comparison,
    Entry,
    Row,
    Subject,
    compare_models,
    csv_text,
    differences,
    markdown,
    measure,
    paired_tests,
    parse_entry,
    read_set,
    row_names,
    verdict_words,
)
from videonl.reports import write_comparison

SMALL = (4, 24)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, three test videos each, and one that cannot be read."""
    root = tmp_path_factory.mktemp("data")
    for number, name in enumerate(NAMES):
        write_video(root / "train" / name / "a.mp4", 8)
        for video in range(3):
            write_video(root / "test" / name / f"{video}.mp4", 10 + 7 * number + 3 * video)
    (root / "test" / "wave" / "broken.mp4").write_text("not a video")
    return root


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    plain = write_checkpoint(folder, file="plain.safetensors")
    other = write_checkpoint(folder, name="tiny_i3d_nl1", file="non-local.safetensors", seed=3)
    return [plain, other]


def test_cost_of_names_and_the_library_twin() -> None:
    table = videonl.compare_models(["tiny_i3d", "tiny_i3d_nl1"], clip=SMALL, rounds=0)
    expected = count_cost("tiny_i3d_nl1", (3, 4, 24, 24))
    row = table.rows[1]
    assert (row.params, row.macs) == (expected.params, expected.macs)
    assert row.flops == 2 * expected.macs
    assert row.non_local_macs == expected.non_local_macs > 0
    assert row.input == "4x24x24"
    content = row.as_dict()
    assert content["flops_total"] == 30 * content["flops_per_view"]
    text = str(table)
    for word in ("params (M)", "GMACs/view", "GFLOPs/view", "4x24x24", "10x3", "FLOPs = 2 x MACs"):
        assert word in text
    assert "clips/s" not in text, "a column without a value is left out"


def test_one_entry_fails_and_the_others_finish() -> None:
    entries = ["tiny_i3d", "tiny_i3dd", "missing.ckpt", Entry("tiny_c2d", options={"depht": 1})]
    table = compare_models(entries, clip=SMALL, rounds=1, device="cpu")
    assert [bool(row.error) for row in table.rows] == [False, True, True, True]
    assert table.rows[0].inference is not None
    unknown, missing, option = (row.error for row in table.failed)
    assert "did you mean tiny_i3d" in str(unknown)
    assert "missing.ckpt" in str(missing)
    assert "depht" in str(option)
    assert "3 of 4 entries failed" in str(table)


def test_a_network_that_cannot_train_on_such_a_clip_is_an_entry_that_fails() -> None:
    alone = nn.Sequential(nn.Conv3d(3, 4, 1), nn.AdaptiveAvgPool3d(1), nn.BatchNorm3d(4))
    fine = nn.Sequential(nn.Conv3d(3, 4, 1), nn.Flatten())
    subjects = {name: Subject(net, (3, 2, 4, 4)) for name, net in (("a", alone), ("b", fine))}
    speeds, errors = measure(subjects, training=True, rounds=1, device=torch.device("cpu"))
    assert list(speeds) == ["b"]
    assert "more than 1 value per channel" in errors["a"]


def test_rows_have_names_of_their_own() -> None:
    entries = [Entry("tiny_i3d", name) for name in ("x", "x", "x (2)", "")]
    assert row_names(entries) == ["x", "x (2)", "x (2) (2)", "tiny_i3d"]


def test_the_table_says_how_the_views_were_averaged(data: Path, checkpoints: list[Path]) -> None:
    said = []
    for protocols in ((None,), ("gluoncv",), (None, "gluoncv")):
        entries = [Entry(str(checkpoints[0]), protocol=each) for each in protocols]
        more = {"data": str(data), "views": (1, 1), "rounds": 0, "device": "cpu"}
        (line,) = re.findall("1x1 views, (.*);", str(compare_models(entries, **more)))
        said.append(line)
    plain, logits = "softmax averaged", "softmax of the mean logits over views"
    assert said == [plain, logits, f"{plain} or {logits}"]


def test_data_that_vanish_are_not_wrong_answers(
    data: Path, checkpoints: list[Path], tmp_path: Path
) -> None:
    root = shutil.copytree(data, tmp_path / "data")

    def vanish(what: str, done: int, total: int) -> None:
        if (what, done) == ("testing", 1):
            root.rename(tmp_path / "hidden")

    more = {"data": str(root), "views": (1, 1), "rounds": 0, "device": "cpu"}
    table = compare_models([str(checkpoints[0])], on_progress=vanish, **more)
    assert table.rows[0].error == f"the data folder {root} is gone"
    assert table.rows[0].top1 is None


def test_a_clip_that_does_not_fit_fails_in_its_row() -> None:
    table = compare_models(["tiny_i3d", "r3d_18"], clip=(1, 2), rounds=0)
    assert any(row.error for row in table.rows) or all(row.macs for row in table.rows)
    with pytest.raises(VideoNLError, match="nothing to compare"):
        compare_models([])


def test_accuracy_equals_what_the_predictor_answers(data: Path, checkpoints: list[Path]) -> None:
    table = compare_models(list(map(str, checkpoints)), data=str(data), views=(2, 1), rounds=0)
    assert not table.failed
    predictor = Predictor.from_checkpoint(checkpoints[0], decoder="auto")
    videos = sorted((data / "test").glob("*/[0-9].mp4"))
    right = [predictor.predict(path, views=(2, 1)).label == path.parent.name for path in videos]
    row = table.rows[0]
    assert row.top1 is not None
    assert (row.top1["correct"], row.top1["total"]) == (sum(right), 10)
    assert row.top5 is None, "top-5 of three classes says nothing"
    assert sum(map(sum, row.confusion or [])) == 9
    census = table.protocol["data"]["census"]
    assert census == {"clap": 3, "jump": 3, "wave": 4}
    (broken,) = table.protocol["data"]["unreadable"]
    assert broken.endswith("broken.mp4")
    assert "1 cannot be read and count as wrong" in str(table)


def test_three_crops_are_counted_at_the_size_that_is_tested(checkpoints: list[Path]) -> None:
    one, three = (
        compare_models([str(checkpoints[0])], views=views, rounds=0).rows[0]
        for views in ((1, 1), (1, 3))
    )
    assert one.input == f"4x{PREPROCESSING['crop']}x{PREPROCESSING['crop']}"
    assert three.input == f"4x{PREPROCESSING['short_side']}x{PREPROCESSING['short_side']}"


def test_paired_test_counts_the_same_videos(data: Path, checkpoints: list[Path]) -> None:
    table = compare_models(list(map(str, checkpoints)), data=str(data), views=(1, 1), rounds=0)
    (test,) = table.tests
    first, second = (
        {path: truth == answer for path, truth, answer in row.answers} for row in table.rows
    )
    assert test.videos == 10
    assert test.only_first == sum(first[path] and not second[path] for path in first)
    assert test.only_second == sum(second[path] and not first[path] for path in first)
    assert test.both == sum(first[path] and second[path] for path in first)
    assert "McNemar" in str(table)


def test_paired_tests_are_corrected_for_their_number() -> None:
    answers = [(f"{i}.mp4", "a", "a") for i in range(8)]
    wrong = [(path, truth, "b") for path, truth, _ in answers]
    rows = [Row("good", answers=answers), Row("bad", answers=wrong), Row("good 2", answers=answers)]
    tests = {(test.first, test.second): test for test in paired_tests(rows)}
    assert tests["good", "bad"].p_value == pytest.approx(2 / 2**8)
    assert tests["good", "bad"].p_holm == pytest.approx(3 * 2 / 2**8)
    assert tests["good", "good 2"].p_holm == 1
    assert paired_tests([Row("a"), Row("b")]) == []


def test_rows_are_paired_over_the_videos_that_both_met_alike() -> None:
    all_right = [(f"{i}.mp4", "a", "a") for i in range(8)]
    gone = [(path, truth, answer if i < 5 else "") for i, (path, truth, answer) in
            enumerate(all_right)]  # fmt: skip
    (test,) = paired_tests([Row("all", answers=all_right), Row("gone", answers=gone)])
    assert (test.videos, test.both, test.only_first, test.p_value) == (5, 5, 0, 1.0)
    (same,) = paired_tests([Row("gone", answers=gone), Row("as well", answers=gone)])
    assert (same.videos, same.both, same.only_first, same.only_second) == (8, 5, 0, 0)
    none = [(path, truth, "") for path, truth, _ in all_right]
    assert paired_tests([Row("all", answers=all_right), Row("none", answers=none)]) == []
    trained = [
        Row("x 0", group="x", seed=0, answers=all_right),
        Row("y 0", group="y", seed=0, answers=gone),
    ]
    (difference,) = differences(trained)
    assert (difference.videos, difference.value) == (5, 0.0)
    words = verdict_words(difference, Comparison(trained, protocol={}))
    assert "5 test videos" in words
    assert "left out: 3 videos that only some trainings could read" in words


def test_checkpoint_of_another_data_set_is_refused(data: Path, tmp_path: Path) -> None:
    stranger = write_checkpoint(tmp_path, class_names=["a", "b", "c", "d"], num_classes=4)
    same_count = write_checkpoint(
        tmp_path, class_names=["clap", "jump", "run"], file="three.safetensors"
    )
    spelling = write_checkpoint(
        tmp_path, class_names=["Clap", "jump", "_wave_"], file="spelling.safetensors"
    )
    entries = [str(stranger), str(same_count), str(spelling)]
    table = compare_models(entries, data=str(data), views=(1, 1), rounds=0)
    first, second = (row.error or "" for row in table.failed)
    assert "knows 4 classes" in first
    assert "has 3" in first
    assert "'run'" in second
    assert "'wave'" in second
    assert table.rows[2].top1 is not None


def test_class_order_of_the_checkpoint_does_not_matter(data: Path, tmp_path: Path) -> None:
    turned = write_checkpoint(tmp_path, class_names=NAMES[::-1])
    table = compare_models([str(turned)], data=str(data), views=(1, 1), rounds=0)
    predictor = Predictor.from_checkpoint(turned, decoder="auto")
    for path, truth, answer in table.rows[0].answers:
        assert truth == Path(path).parent.name
        if path.endswith("broken.mp4"):
            assert answer == ""
            continue
        assert answer == predictor.predict(path, views=(1, 1)).label


def test_unusable_data(tmp_path: Path, data: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        compare_models(["tiny_i3d"], data=str(tmp_path / "none"))
    with pytest.raises(DatasetError, match="no val folder"):
        compare_models(["tiny_i3d"], data=str(data), split="val")
    with pytest.raises(DatasetError, match="'best'"):
        compare_models(["tiny_i3d"], data=str(data), split="best")


class Sleeper(nn.Module):
    """Takes a known time and a known memory."""

    def __init__(self, seconds: float, numbers: int, log: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1000))
        self.seconds, self.numbers, self.log = seconds, numbers, log

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        self.log.append(self.seconds)
        time.sleep(self.seconds)
        held = torch.zeros(self.numbers)
        return held[:2].expand(len(clips), 2) * self.weight[:2]


class Wordless(nn.Module):
    """Fails without saying why."""

    def forward(self, _clips: torch.Tensor) -> torch.Tensor:
        raise RuntimeError


def test_rounds_alternate_and_speed_and_memory_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "videonl.evaluation.speed.MIN_SECONDS", 0.0
    )  # one pass per network and round
    log: list[float] = []
    shape = (3, 2, 4, 4)
    subjects = {
        "slow": Subject(Sleeper(0.04, 1_000_000, log), shape),
        "fast": Subject(Sleeper(0.01, 10, log), shape),
        "wordless": Subject(Wordless(), shape),
    }
    speeds, errors = measure(subjects, rounds=3, batch_size=2, device=torch.device("cpu"))
    assert errors == {"wordless": "RuntimeError"}
    warm_up = 4  # twice each: warm-up and memory
    assert log[warm_up:] == [0.04, 0.01, 0.01, 0.04, 0.04, 0.01]
    assert 25 < speeds["slow"].clips_per_second <= 50
    assert speeds["fast"].clips_per_second > 1.5 * speeds["slow"].clips_per_second
    assert speeds["slow"].low <= speeds["slow"].clips_per_second <= speeds["slow"].high
    own = 4 * 1000 + 4 * 2 * 3 * 2 * 16  # weights and clips
    assert 4e6 + own <= speeds["slow"].peak_memory < 4e6 + own + 1000
    assert own <= speeds["fast"].peak_memory < own + 1000


def test_training_speed_leaves_the_accuracy_alone(data: Path, checkpoints: list[Path]) -> None:
    one = [str(checkpoints[0])]
    options = {"data": str(data), "views": (1, 1), "device": "cpu"}
    still = compare_models(one, rounds=0, **options).rows[0]
    timed = compare_models(one, rounds=1, training_speed=True, **options).rows[0]
    assert timed.answers == still.answers
    assert timed.training is not None
    assert timed.inference is not None
    assert timed.training["peak_memory"] > timed.inference["peak_memory"]
    assert timed.training["clips_per_second"] < timed.inference["clips_per_second"]


def test_a_network_s_name_wins_over_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny_i3d").mkdir()
    (tmp_path / "run").mkdir()
    assert not Entry("tiny_i3d").is_checkpoint
    assert not Entry("package.module:mynet_18").is_checkpoint
    assert all(Entry(target).is_checkpoint for target in ("run", "official/i3d_8x8", "a.ckpt"))


def test_row_names_are_short_and_each_once() -> None:
    texts = ["i3d_r50", "plain=i3d_r50", "a/best.ckpt", "b/best.ckpt", "x/c.ckpt", "i3d_r50"]
    names = row_names([parse_entry(text) for text in texts])
    assert names == ["i3d_r50", "plain", "a/best.ckpt", "b/best.ckpt", "c.ckpt", "i3d_r50 (2)"]
    same = row_names([parse_entry("/x.ckpt")] * 2)
    assert same == ["/x.ckpt", "/x.ckpt (2)"]


def test_files_hold_the_same_figures(tmp_path: Path, data: Path, checkpoints: list[Path]) -> None:
    entries = ["plain=" + str(checkpoints[0]), str(checkpoints[1]), "nonsense"]
    table = compare_models(entries, data=str(data), views=(1, 1), rounds=1, device="cpu")
    files = write_comparison(table, tmp_path / "new" / "out")
    names = [file.name for file in files]
    endings = ("json", "csv", "md", "html", "png")
    assert names == [f"compare.{ending}" for ending in endings]
    content = json.loads(files[0].read_text())
    assert content["protocol"]["inputs"] == ["4x16x16"]
    environment = content["protocol"]["environment"]
    for key in ("processor", "threads", "versions", "device", "cores"):
        assert environment[key]
    assert content["rows"][0]["top1"]["wilson95"][0] <= content["rows"][0]["top1"]["value"]
    assert len(content["answers"]["plain"]) == 10
    rows = list(csv.DictReader(files[1].open()))
    assert [row["name"] for row in rows] == ["plain", "non-local.safetensors", "nonsense"]
    assert int(rows[0]["params"]) == content["rows"][0]["params"]
    assert float(rows[0]["top1"]) == content["rows"][0]["top1"]["value"]
    assert rows[2]["error"]
    text = files[2].read_text()
    assert "| plain |" in text
    assert "McNemar" in text
    assert "## Failed" in text
    assert files[4].read_bytes()[:4] == b"\x89PNG"
    assert csv_text(table) == files[1].read_bytes().decode()
    assert markdown(table) == text


def test_a_data_set_of_lists_is_read_as_in_training(tmp_path: Path) -> None:
    videos = tmp_path / "val"
    for number in range(2):
        write_video(videos / f"{number}.mp4", 8)
    (tmp_path / "classes.txt").write_text("short\nlong\n")
    (tmp_path / "val.csv").write_text("0.mp4,short\n1.mp4,long\n2.mp4,long\n")
    found = read_set(str(tmp_path), "val")
    assert [Path(path).name for path in found.paths] == ["0.mp4", "1.mp4", "2.mp4"]
    assert [found.class_names[label] for label in found.labels] == ["short", "long", "long"]
    (tmp_path / "val.csv").write_text("0.mp4,short;long\n1.mp4,long\n")
    with pytest.raises(DatasetError, match=r"0\.mp4: compare needs data with exactly one label"):
        read_set(str(tmp_path), "val")
