"""Values out of range, through the command line and the public classes: one sentence each."""

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from tests.marks import mostly_slow
from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main
from videonl.data import VideoDataModule
from videonl.errors import VideoNLError
from videonl.layers import insert_non_local
from videonl.limits import above, number, whole
from videonl.models import create_model
from videonl.training import Recipe, make_trainer

FIT = ["batch_size=0", "batch_size=-1", "num_workers=-1", "fps=0", "fps=nan", "frames=0"]
FIT += ["stride=0", "short_side=0", "crop=-4", "jitter=[40,33]", "jitter=[10,20]", "views=0x3"]
FIT += ["views=1x2", "val_views=0x1", "max_bad_share=-1", "flip=2", "resized_crop=[1,0.5]"]
FIT += ["rand_augment=-1", "magnitude=11", "erasing=2", "short_video=x", "memory_mb=-1"]
FIT = [f"--data.{text}" for text in FIT]
FIT += ["--seed=-1", "--save_every_steps=0", "--save_every_minutes=nan", "--recipe.mixup=nan"]
FIT += ["--recipe.milestones=[2]", "--recipe.learning_rate=inf", "--model.views_per_forward=0"]
FIT += ["--model.options={width: -1}", "--model.options={dropout: 2}"]
FIT += [f"--trainer.{name}=0" for name in ("accumulate_grad_batches", "check_val_every_n_epoch")]
FIT += [f"--trainer.{name}=0" for name in ("val_check_interval", "limit_train_batches")]
FIT += ["--trainer.val_check_interval=99", "--name=", "--name=a/b"]
FIT += ["--name=..", f"--trainer.default_root_dir={__file__}", "--model.options={preset: [1]}"]
FIT += ["--trainer.gradient_clip_val=-1", "--trainer.precision=transformer-engine"]
OTHERS = [
    "serve --checkpoint x --port 99999",
    "check . --workers -1",
    "check . --timeout nan",
    "prepare . out --short-side 0",
    "prepare . out --quality 99",
    "predict a.mp4 --checkpoint x --views 99999999999x1",
    "predict a.mp4 --checkpoint x --top-k 0",
    "predict a.mp4 --checkpoint x --workers -1",
    "predict a.mp4 --checkpoint x --timeline --threshold nan",
    "predict a.mp4 --checkpoint x --time-limit nan",
    "cost tiny_i3d --num-classes 0",
    "cost tiny_i3d --clip 99999999x999999999",
    "cost tiny_i3d --option width=-8",
    "cost tiny_i3d --option width=0",
    "cost tiny_i3d_nl1 --option non_local_options={affinity:dot_product}",
    "cost tiny_i3d_nl1 --option non_local_options=dot_product",
    "cost tiny_i3d --option preprocessing=x",
    "cost tiny_i3d --option preset=[1]",
    "cost tiny_i3d --option num_classes=4",
    "cost tiny_i3d --option name=4",
    "predict a.mp4 --checkpoint x --option pretrained=y",
    "compare tiny_i3d --learning-rate nan",
    "convert a b --num-classes 0",
    "sample --seed -1",
    "demo --seed -1",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("limits"), train=1, val=1)


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    try:
        code: Any = main(argv)
    except SystemExit as ended:  # of argparse
        code = ended.code
    message = capsys.readouterr().err.strip()
    assert code == 2, message
    assert len(message.splitlines()) == 1
    assert "Traceback" not in message
    assert "unexpected error" not in message
    return message


TOLD = ["batch_size=0", "fps=nan", "crop=-4", "jitter=[40,33]", "views=0x3", "short_video=x"]
TOLD = [f"--data.{text}" for text in TOLD]
TOLD += ["--seed=-1", "--save_every_minutes=nan", "--recipe.milestones=[2]", "--name=a/b"]
TOLD += ["--model.options={width: -1}", "--trainer.limit_train_batches=0"]
TOLD += ["--trainer.val_check_interval=99", f"--trainer.default_root_dir={__file__}"]
TOLD += ["--trainer.precision=transformer-engine"]


@pytest.mark.parametrize("flag", mostly_slow(FIT, quick=TOLD))
def test_training(
    flag: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--model.name", "tiny_i3d", "--trainer.accelerator", "cpu"]
    argv = ["train", "fit", "--data.root", str(data), "--out", str(tmp_path), *small, *FLAGS, flag]
    message = refused(argv, capsys)
    name = flag.partition("=")[0].rpartition(".")[2].lstrip("-")
    words = (name, name.removeprefix("val_"), "width", "dropout", "preset", "transformer")
    assert any(word in message for word in words)


@pytest.mark.parametrize("line", OTHERS)
def test_other_commands(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(line.split(), capsys)
    assert not list(tmp_path.iterdir())


def test_classes_of_python() -> None:
    with pytest.raises(VideoNLError, match="batch_size=0: it must be a whole number from 1"):
        VideoDataModule("nowhere", batch_size=0)
    with pytest.raises(VideoNLError, match="frames is x; it must be"):
        VideoDataModule("nowhere", frames="x")  # type: ignore[arg-type]
    with pytest.raises(VideoNLError, match="warmup=nan"):
        Recipe(warmup=float("nan"))
    with pytest.raises(VideoNLError, match="width=0"):
        create_model("tiny_i3d", width=0)
    with pytest.raises(VideoNLError, match="accumulate_grad_batches=0"):
        make_trainer({"accumulate_grad_batches": 0})
    with pytest.raises(ValueError, match=r"blocks=.*layer9.*: it must be a table"):
        insert_non_local(nn.Sequential(), ["layer9"])  # type: ignore[arg-type]


def test_limits_say_what_they_allow() -> None:
    assert str(whole(1)) == "a whole number of at least 1"
    assert str(above(0)) == "a number above 0"
    assert [above(0, 1).allows(value) for value in (0, 0.5, 1, 2)] == [False, True, True, False]
    assert str(number(0, 1)) == "a number from 0 to 1"
    wrong = (True, "1", None, float("nan"), float("inf"), 10**400, 0.5)
    assert not any(whole(0).allows(value) for value in wrong)
