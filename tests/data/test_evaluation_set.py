"""One split of any layout, for whoever measures: nothing is left out in silence."""

import json
import random
import warnings
from pathlib import Path

import pytest

from videonl.class_names import kinetics400, order_classes
from videonl.data import census_values, evaluation_set, read_catalogue
from videonl.errors import DatasetError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_folders_and_lists_give_the_same(tmp_path: Path) -> None:
    names = ["run/a.mp4", "run/b.mp4", "walk/c.mp4"]
    touch(tmp_path / "folders", *(f"{split}/{n}" for split in ("train", "test") for n in names))
    flat = tmp_path / "flat"
    touch(flat, *(f"{split}/{Path(n).name}" for split in ("train", "test") for n in names))
    for split in ("train", "test"):
        lines = [f"{Path(n).name} {Path(n).parent}" for n in [*names, "run/gone.mp4"]]
        (flat / f"{split}.txt").write_text("\n".join(lines) + "\n")
    one, two = evaluation_set(tmp_path / "folders", "test"), evaluation_set(flat, "test")
    assert one.class_names == two.class_names == ["run", "walk"]
    assert [r.label for r in one.records] == [r.label for r in two.records] == [0, 0, 1]
    assert [Path(r.path).name for r in two.records] == ["a.mp4", "b.mp4", "c.mp4"]
    assert [r.path for r in two.missing] == [str(flat / "gone.mp4")]
    assert (two.census.listed, two.census.found, two.census.missing) == (4, 3, 1)


def test_a_list_by_name_and_the_skip_list(tmp_path: Path) -> None:
    touch(tmp_path, "test/a.mp4", "test/b.mp4")
    (tmp_path / "mine.csv").write_text("test/a.mp4,1\ntest/b.mp4,0\n")
    (tmp_path / "names.txt").write_text("run\nwalk\n")
    (tmp_path / "videonl_skip.tsv").write_text("test/b.mp4\tdamaged\n")
    found = evaluation_set(
        tmp_path,
        "test",
        lists={"test": str(tmp_path / "mine.csv")},
        class_names=str(tmp_path / "names.txt"),
    )
    assert [r.label for r in found.records] == [1, 0]  # the skipped one counts as unreadable
    assert list(found.skipped.values()) == ["damaged"]
    assert (found.census.found, found.census.unreadable) == (1, 1)


def test_absent_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/run/a.mp4")
    with pytest.raises(DatasetError, match="has no test folder or list"):
        evaluation_set(tmp_path, "test")
    with pytest.raises(DatasetError, match="split='holdout' is unknown"):
        evaluation_set(tmp_path, "holdout")
    with pytest.raises(DatasetError, match="has no test folder or list"):
        evaluation_set(tmp_path, None)
    touch(tmp_path, "val/run/b.mp4")
    assert evaluation_set(tmp_path, None).split == "val"
    touch(tmp_path, "test/run/c.mp4")
    assert evaluation_set(tmp_path, None).split == "test"


def test_the_census_can_be_stored(tmp_path: Path) -> None:
    touch(tmp_path, "train/run/a.mp4", "train/walk/b.mp4", "val/run/c.mp4")
    stored = census_values(read_catalogue(tmp_path).census)
    assert json.loads(json.dumps(stored)) == stored
    assert stored["train"]["per_class"] == {"run": 1, "walk": 1}
    assert stored["val"]["found"] == 1


def test_kinetics_600_without_signs_is_announced() -> None:
    """Their order is not known here; it is not guessed, and the way out is named."""
    names = kinetics400()[:368] + [f"another class {i}" for i in range(232)]
    random.Random(0).shuffle(names)
    stripped = [n.translate({ord(c): None for c in "'()"}) for n in names]
    with pytest.warns(UserWarning, match="Kinetics-600 without the characters.*class_names_file"):
        assert order_classes(stripped) == sorted(stripped)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert order_classes(names) == sorted(names)  # with signs: sorted is the official order
        assert order_classes([f"class {i}" for i in range(600)])
