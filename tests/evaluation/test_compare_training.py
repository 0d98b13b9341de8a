import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.videos import write_video
from videonl import Predictor, VideoClassifier, VideoDataModule
from videonl.errors import VideoNLError
from videonl.evaluation import (
    Budget,
    Comparison,
    Entry,
    Row,
    compare_models,
    csv_text,
    markdown,
    merge_group,
)
from videonl.reports import comparison_page
from videonl.weights import LoadedModel, save_checkpoint

SMALL = {"width": 4}
SAMPLE = Path(__file__).resolve().parents[2] / "checkpoints" / "sample_nl.safetensors"
BUDGET = Budget(
    epochs=1, seeds=(0, 1), batch_size=2, frames=4, size=16, stride=1, num_workers=0,
    recipe={"learning_rate": 0.5, "warmup": 0.0},
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for name in ("long", "short"):
        for split, count in (("train", 2), ("val", 1), ("test", 2)):
            for number in range(count):
                frames = (16 if name == "long" else 6) + number
                write_video(root / split / name / f"{number}.mp4", frames)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def table(data: Path, folder: Path) -> Comparison:
    entries = [
        Entry("tiny_c2d", "one", SMALL),
        Entry("tiny_c2d", "other", SMALL),
        Entry("tiny_c2d", "wrong", SMALL, pretrained=str(SAMPLE)),
    ]
    return compare_models(
        entries, data=str(data), train=BUDGET, folder=folder, views=(1, 1), rounds=1, device="cpu"
    )


def weights(folder: Path, name: str, seed: int) -> torch.Tensor:
    path = folder / "training" / name / f"seed-{seed}" / "last.ckpt"
    state = torch.load(path, weights_only=True)["state_dict"]
    return torch.cat([v.flatten().double() for v in state.values() if v.is_floating_point()])


def test_same_network_same_seed_same_result(table: Comparison, folder: Path) -> None:
    # Start, order, clips, crops and budget are the same: so is every weight in the end.
    for seed in (0, 1):
        assert torch.equal(weights(folder, "one", seed), weights(folder, "other", seed))
    assert not torch.equal(weights(folder, "one", 0), weights(folder, "one", 1))
    rows = {row.name: row for row in table.rows}
    assert rows["one, seed 0"].answers == rows["other, seed 0"].answers
    (difference,) = table.differences
    assert (difference.value, difference.p_value, difference.trainings) == (0, 1, 2)
    assert difference.low == -difference.high < 0, "four videos prove no equality"


def test_table_has_a_row_per_entry_and_the_files_one_per_training(table: Comparison) -> None:
    assert [row.name for row in table.shown] == ["one", "other", "wrong"]
    assert [row.name for row in table.rows][:2] == ["one, seed 0", "other, seed 0"]
    first = table.shown[0]
    assert first.top1 is not None
    assert first.top1["trainings"] == 2
    assert first.inference is not None
    for text in (str(table), markdown(table)):
        assert "±" in text
        assert "other" in text[text.index("Verdict") :]
        assert "seeds 0, 1" in text
    assert csv_text(table).count("tiny_c2d,") == 4 + 2
    assert 'id="verdict"' in comparison_page(table)
    content = table.as_dict()
    assert content["protocol"]["training"]["epochs"] == 1
    assert content["protocol"]["training"]["clip"] == {
        "frames": 4, "stride": 1, "crop": 16, "short_side": 16
    }  # fmt: skip
    assert len(content["groups"]) == 3


def test_mcnemar_pairs_have_the_same_seed(table: Comparison) -> None:
    pairs = {(test.first, test.second) for test in table.tests}
    assert pairs == {("one, seed 0", "other, seed 0"), ("one, seed 1", "other, seed 1")}


def test_training_that_fails_says_why(table: Comparison) -> None:
    assert [row.name for row in table.failed] == ["wrong, seed 0", "wrong, seed 1"]
    assert SAMPLE.name in str(table.failed[0].error)


def test_a_wrong_entry_is_refused_before_the_first_training(data: Path, tmp_path: Path) -> None:
    entries = [Entry("tiny_c2d", "one", SMALL), Entry("tiny_c2d", "wrong", {"widht": 4})]
    with pytest.raises(VideoNLError, match="'widht'; did you mean width"):
        compare_models(entries, data=str(data), train=BUDGET, folder=tmp_path, device="cpu")
    assert not list(tmp_path.iterdir())


def test_finished_trainings_are_not_repeated(data: Path, folder: Path, table: Comparison) -> None:
    """The same values in another order are the same settings."""
    before = weights(folder, "one", 1)
    other_order = replace(BUDGET, recipe=dict(reversed(BUDGET.recipe.items())))
    again = compare_models(
        [Entry("tiny_c2d", "one", SMALL)], data=str(data), train=other_order, folder=folder,
        views=(1, 1), rounds=0, device="cpu",
    )  # fmt: skip
    assert not again.failed
    assert torch.equal(weights(folder, "one", 1), before)
    assert again.rows[0].answers == table.rows[0].answers
    diagnoses = [row.learning for row in table.rows if row.group == "one"]
    assert [row.learning for row in again.rows] == diagnoses
    assert all(diagnoses)


def test_the_best_epoch_is_not_chosen_on_the_videos_of_the_test(
    data: Path, folder: Path, table: Comparison
) -> None:
    kept = [Path(str(row.checkpoint)).name for row in table.rows if not row.error]
    assert kept == ["best.ckpt"] * 4
    again = compare_models(
        [Entry("tiny_c2d", "one", SMALL)], data=str(data), train=BUDGET, folder=folder,
        split="val", views=(1, 1), rounds=0, device="cpu",
    )  # fmt: skip
    assert [Path(str(row.checkpoint)).name for row in again.rows] == ["last.ckpt"] * 2


@pytest.mark.slow
def test_names_with_signs_have_folders_of_their_own(data: Path, tmp_path: Path) -> None:
    names = ["a b", "a_b", ".."]
    entries = [Entry("tiny_c2d", name, {"width": 4 + n}) for n, name in enumerate(names)]
    table = compare_models(
        entries, data=str(data), train=replace(BUDGET, seeds=(0,)), folder=tmp_path / "out",
        views=(1, 1), rounds=0, device="cpu",
    )  # fmt: skip
    assert not table.failed
    assert sorted(p.name for p in (tmp_path / "out" / "training").iterdir()) == [
        "_..", "a_b", "a_b-2"
    ]  # fmt: skip


def test_a_folder_with_another_budget_is_refused(data: Path, folder: Path) -> None:
    other = Budget(epochs=2, seeds=(0,), batch_size=2, frames=4, size=16, num_workers=0)
    found = compare_models(
        [Entry("tiny_c2d", "one", SMALL)], data=str(data), train=other, folder=folder, rounds=0,
        device="cpu",
    )  # fmt: skip
    assert "other settings" in str(found.rows[0].error)


@pytest.mark.slow
def test_a_training_on_another_split_is_refused(data: Path, tmp_path: Path) -> None:
    """Where nobody split the videos, the first seed does."""
    shutil.copytree(data / "train", tmp_path / "videos")

    def errors(*seeds: int) -> list[str | None]:
        found = compare_models(
            [Entry("tiny_c2d", "one", SMALL)], data=str(tmp_path / "videos"),
            train=replace(BUDGET, seeds=seeds), folder=tmp_path / "out", rounds=0, device="cpu",
        )  # fmt: skip
        return [row.error for row in found.rows]

    assert errors(0, 1) == [None, None]
    assert errors(0) == [None]
    assert "other settings" in str(errors(1)[0])


def test_testing_and_classifying_see_the_same_numbers(
    data: Path, folder: Path, table: Comparison
) -> None:
    checkpoint = folder / "training" / "one" / "seed-0" / "last.ckpt"
    predictor = Predictor.from_checkpoint(checkpoint, device="cpu")
    classifier = VideoClassifier.load_from_checkpoint(checkpoint, weights_only=True).eval()
    module = VideoDataModule(
        str(data), preprocessing=classifier.preprocessing, num_workers=0, batch_size=6,
        views=(2, 3),
    )  # fmt: skip
    module.setup("test")
    seen = 0
    with torch.no_grad():
        for batch in module.test_dataloader():
            answers = classifier.predict_step(batch, 0)
            for index, expected in zip(*answers.values(), strict=True):
                path = module.records["test"][int(index)].path
                prediction = predictor.predict(path, views=(2, 3))
                found = dict(zip(prediction.classes, prediction.probabilities, strict=True))
                names = classifier.class_names or []
                assert [found[name] for name in names] == pytest.approx(expected.tolist(), abs=1e-5)
                seen += 1
    assert seen == 4


def test_what_can_not_be_trained(data: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoNLError, match="--data"):
        compare_models(["tiny_c2d"], train=BUDGET, folder=tmp_path)
    with pytest.raises(VideoNLError, match="every entry is a checkpoint"):
        compare_models(["a.ckpt"], data=str(data), train=BUDGET, folder=tmp_path)
    with pytest.raises(VideoNLError, match="epochs=0: it must be a whole number"):
        Budget(epochs=0)
    with pytest.raises(VideoNLError, match="seeds must be different"):
        Budget(seeds=(1, 1))


def test_mean_and_standard_deviation_over_seeds() -> None:
    rows = [
        Row(f"a, seed {i}", params=1, top1={"value": value}, confusion=[[i, 1], [0, 2]])
        for i, value in enumerate((0.5, 0.6, 0.7))
    ]
    merged = merge_group("a", rows)
    assert merged.top1 is not None
    assert merged.top1["value"] == pytest.approx(0.6)
    assert merged.top1["deviation"] == pytest.approx(0.1)
    assert merged.top1["range"] == [0.5, 0.7]
    assert merged.confusion == [[3, 3], [0, 6]]


def test_every_network_starts_from_the_same_weights(data: Path, tmp_path: Path) -> None:
    start = VideoClassifier("tiny_c2d", num_classes=5, options=SMALL)
    path = tmp_path / "start.safetensors"
    save_checkpoint(LoadedModel(start.net, None, dict(start.net.preprocessing), {}), path)
    still = {"learning_rate": 1e-12, "weight_decay": 0.0, "norm_weight_decay": 0.0}
    budget = Budget(
        epochs=1, seeds=(0,), batch_size=2, frames=4, size=16, stride=1, num_workers=0,
        pretrained=str(path), recipe=still,
    )  # fmt: skip
    entries = [Entry("tiny_c2d", "plain", SMALL), Entry("tiny_c2d_nl1", "block", SMALL)]
    table = compare_models(
        entries, data=str(data), train=budget, folder=tmp_path, views=(1, 1), rounds=0, device="cpu"
    )
    assert [row.error for row in table.rows] == [None, None]
    for name in ("plain", "block"):
        end = torch.load(tmp_path / "training" / name / "seed-0" / "last.ckpt", weights_only=True)[
            "state_dict"
        ]
        for key, value in start.net.state_dict().items():
            if key.endswith(("conv.weight", "conv_b.weight")):
                assert torch.allclose(end[f"net.{key}"], value, atol=1e-6), key
