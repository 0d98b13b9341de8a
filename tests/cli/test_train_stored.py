"""``--resume RUN``: the run's own configuration finds its files again, and is never code."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from tests.cli.train_options import listed
from tests.marks import mostly_slow
from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main

SMALL = [*FLAGS, "--model.name", "tiny_i3d", "--model.options.width", "8", "--name", "x"]
SMALL += ["--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"]
LISTS = ("train", "val", "test")
OTHER_FILES = {"data.class_names_file": "names.txt", "data.skip_list": "skip.tsv"}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a training was started, with every path relative to it."""
    folder = tmp_path_factory.mktemp("started")
    root = write_small_data(folder / "videos", train=2, val=1, test=1)
    for split in LISTS:
        files = sorted((root / split).glob("*/*.mp4"))
        lines = [f"{path.relative_to(root)} {path.parent.name == 'light':d}\n" for path in files]
        (folder / f"{split}_list.txt").write_text("".join(lines))
    (folder / "names.txt").write_text("dark\nlight\n")
    (folder / "skip.tsv").write_text("# none\n")
    flags = ["--data.root", "videos", *SMALL]
    flags += [text for key, name in OTHER_FILES.items() for text in (f"--{key}", name)]
    flags += [text for s in LISTS for text in (f"--data.{s}_list", f"{s}_list.txt")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "fit", *flags]) == 0
    return folder


@pytest.fixture
def run(started: Path, tmp_path: Path) -> Path:
    """A copy of the run, for a test to change."""
    copy = tmp_path / "started"
    shutil.copytree(started, copy)
    return next(copy.glob("runs/x/*"))


def change(run: Path, section: str, **values: object) -> None:
    stored = yaml.safe_load((run / "config.yaml").read_text())
    (stored[section] if section else stored).update(values)
    (run / "config.yaml").write_text(yaml.safe_dump(stored))


def resume(run: Path, *flags: str) -> int:
    return main(["train", "fit", "--resume", str(run), "--trainer.max_epochs", "2", *flags])


def test_a_run_stores_absolute_paths(started: Path) -> None:
    (run,) = started.glob("runs/x/*")
    stored = yaml.safe_load((run / "config.yaml").read_text())
    assert stored["out"] == str(started / "runs")
    assert stored["data"]["root"] == str(started / "videos")
    paths = {key for key in listed("fit") if key.endswith(("_list", "_file"))}
    given = {**{f"data.{s}_list": f"{s}_list.txt" for s in LISTS}, **OTHER_FILES}
    assert paths == set(given), "every option that is a file is given here"
    for key, name in given.items():
        assert stored["data"][key[5:]] == str(started / name), key


def test_a_run_goes_on_from_another_folder(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that stored its paths as they were given: they begin where the run was started."""
    relative = {f"{s}_list": f"{s}_list.txt" for s in LISTS}
    relative |= {key[5:]: name for key, name in OTHER_FILES.items()}
    change(run, "data", root="videos", **relative)
    change(run, "", out="runs")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "train_list.txt").write_text("of another data set\n")
    monkeypatch.chdir(elsewhere)
    assert resume(run) == 0
    assert torch.load(run / "last.ckpt", weights_only=True)["epoch"] == 1
    stored = yaml.safe_load((run / "config.yaml").read_text())
    assert stored["data"]["train_list"] == str(run.parents[2] / "train_list.txt")


CODE = [
    ("trainer", {"callbacks": "evil.Callback"}),
    ("trainer", {"callbacks": [{"class_path": "evil.Callback"}]}),
    ("trainer", {"callbacks": [{"init_args": {"a": 1}}]}),
    ("trainer", {"logger": {"class_path": "evil.Logger"}}),
    ("trainer", {"plugins": ["evil.Plugin"]}),
    ("trainer", {"profiler": "evil.Profiler"}),
    ("trainer", {"strategy": {"class_path": "evil.Strategy"}}),
    ("trainer", {"accelerator": "evil.Accelerator"}),
    ("model", {"name": "evil:network"}),
    ("model", {"options": {"width": 8, "anything": {"class_path": "evil.Thing"}}}),
    ("model", {"options": {"width": 8, "anything": '{"class\\u005fpath": evil.Thing}'}}),
    ("model", {"options": "{anything: {class_path: evil.Thing}}"}),
    ("model", {"options": {"width": 8, "anything": [{"deep": {"class_path": "evil.Thing"}}]}}),
]


# test_no_code_from_files has more of them.
@pytest.mark.parametrize(
    ("section", "values"),
    mostly_slow(CODE, quick=[CODE[1], CODE[8], CODE[10]]),
    ids=str,
)
def test_a_stored_configuration_imports_nothing(
    section: str,
    values: dict[str, object],
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trace = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    change(run, section, **values)
    assert resume(run) == 2
    errors = capsys.readouterr().err
    key = f"{section}.{next(iter(values))}"
    never = "never allowed to import code" if key == "model.name" else f"{key} names code, which is"
    assert never in errors
    assert not trace.exists()


def test_what_the_user_says_again_is_imported(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    early = {"class_path": "EarlyStopping", "init_args": {"monitor": "val/loss"}}
    change(run, "trainer", callbacks=[early])
    assert resume(run) == 2
    assert f"--config {run / 'config.yaml'} if you trust" in capsys.readouterr().err
    again = ["--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val/top1"]
    assert resume(run, *again) == 0
    assert resume(run, "--config", str(run / "config.yaml"), "--trainer.max_epochs", "3") == 0
    assert torch.load(run / "last.ckpt", weights_only=True)["epoch"] == 2
