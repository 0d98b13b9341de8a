"""NaN and infinity: no checkpoint of them is kept, no score comes of them, no JSON holds them."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.checkpoints import write_ckpt
from tests.inference.networks import NAMES
from tests.marks import mostly_slow
from tests.small_data import FLAGS, write_small_data
from tests.videos import write_video
from videonl.cli.main import main
from videonl.errors import CheckpointError
from videonl.escapes import json_text
from videonl.models import create_model
from videonl.training import VideoClassifier, read_metrics
from videonl.weights import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
FIT = [
    *("--model.name", "tiny_i3d_nl1", "--model.options.width", "8"),
    *("--recipe.reference_batch", "2", "--trainer.accelerator", "cpu"),
    *("--trainer.max_epochs", "2"),
]
DATA = [*FLAGS, "--data.short_side", "24", "--data.crop", "16", "--data.views", "1x1"]
CPU = ["--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"]
Capture = pytest.CaptureFixture[str]
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("small"), train=2, val=1)


def poison_after(monkeypatch: pytest.MonkeyPatch, step: int, name: str, value: float) -> None:
    """Spoil one tensor of the network in an optimiser step, after the loss was computed."""
    original = VideoClassifier.optimizer_step

    def optimizer_step(self: VideoClassifier, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        if self.global_step == step - 1:  # it is counted a little later
            tensor = self.net.state_dict()[name]
            tensor[(0,) * tensor.dim()] = value

    monkeypatch.setattr(VideoClassifier, "optimizer_step", optimizer_step)


def finite(path: Path) -> bool:
    return all(bool(x.isfinite().all()) for x in load_checkpoint(path).model.state_dict().values())


@pytest.mark.parametrize(
    ("name", "value", "more"),
    [
        pytest.param("head.projection.weight", float("nan"), [], marks=pytest.mark.slow),
        pytest.param("stem.conv.weight", float("inf"), [], marks=pytest.mark.slow),
        pytest.param("stem.norm.running_var", float("nan"), [], marks=pytest.mark.slow),
        ("stem.conv.weight", float("nan"), ["--recipe.ema", "0.9"]),
        pytest.param(
            "stem.conv.weight",
            float("nan"),
            ["--trainer.limit_val_batches", "0"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "stem.conv.weight",
            -float("inf"),
            ["--trainer.check_val_every_n_epoch", "3"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_weights_that_break_in_the_last_step_of_an_epoch(
    name: str,
    value: float,
    more: list[str],
    small: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    argv = ["train", "fit", "--data.root", str(small), *FLAGS, *FIT, "--out", str(tmp_path), *more]
    with monkeypatch.context() as patch:
        poison_after(patch, 4, name, value)  # an epoch has 2 steps
        assert main(argv) == 2
    (run,) = tmp_path.glob("*/*")
    sentence = capsys.readouterr().err.strip()
    assert len(sentence.splitlines()) == 1
    assert "the weights became NaN or infinite by step 4" in sentence
    assert name in sentence
    assert f"{run / 'last.ckpt'} holds the last finite weights" in sentence
    kept = sorted(path.name for path in run.glob("*.ckpt"))
    assert kept == (["best.ckpt", "last.ckpt"] if "val" not in str(more) else ["last.ckpt"])
    for path in kept:
        assert finite(run / path)
        assert torch.load(run / path, weights_only=True)["global_step"] == 2
    scores = [row for row in read_metrics(run / "metrics.csv") if "val/loss" in row]
    assert len(scores) == int("val" not in str(more))
    assert main([*argv, "--resume", str(run)]) == 0  # the last finite one is there to go on from


def test_weights_that_break_before_a_save_within_an_epoch(
    small: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["train", "fit", "--data.root", str(small), *FLAGS, *FIT, "--out", str(tmp_path)]
    poison_after(monkeypatch, 3, "stem.conv.weight", float("nan"))
    assert main([*argv, "--save_every_steps", "1"]) == 2
    (last,) = tmp_path.glob("*/*/last.ckpt")
    assert finite(last)
    assert torch.load(last, weights_only=True)["global_step"] == 2
    assert "by step 3" in capsys.readouterr().err


def test_answers_that_break_in_the_validation(
    small: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are finite and answers that are not."""
    argv = ["train", "fit", "--data.root", str(small), *FLAGS, *FIT, "--out", str(tmp_path)]
    poison_after(monkeypatch, 4, "stem.conv.weight", 3e38)
    assert main(argv) == 2
    (run,) = tmp_path.glob("*/*")
    assert "the validation loss became nan at step 4" in capsys.readouterr().err
    for name in ("best.ckpt", "last.ckpt"):
        assert torch.load(run / name, weights_only=True)["global_step"] == 2


SCRIPT = """\
import sys
from tests.cli.test_finite import poison_after
from videonl.cli.main import main
import pytest
poison_after(pytest.MonkeyPatch(), 4, "stem.norm.running_var", float("nan"))
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_two_processes_keep_the_last_finite_checkpoint(small: Path, tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text(SCRIPT)
    argv = [
        "train",
        "fit",
        "--data.root",
        str(small),
        *FLAGS,
        *FIT,
        "--out",
        str(tmp_path / "runs"),
    ]
    argv += ["--data.batch_size", "1", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    done = subprocess.run(
        [sys.executable, str(script), *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 2, done.stderr
    assert "the weights became NaN or infinite by step 4" in done.stderr
    assert "Traceback" not in done.stderr
    (run,) = (tmp_path / "runs").glob("*/*")
    for name in ("best.ckpt", "last.ckpt"):
        assert finite(run / name)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, weights that are not finite, and finite ones with answers that are not."""
    place = tmp_path_factory.mktemp("broken")
    for split in ("train", "val", "test"):
        for name in NAMES:
            write_video(place / f"data/{split}/{name}/0.mp4", 12)

    def set_all(key: str, value: float) -> Change:
        return lambda content: content["state_dict"][key].fill_(value)

    write_ckpt(place / "nan.ckpt", set_all("net.stem.conv.weight", float("nan")))
    write_ckpt(place / "inf.ckpt", set_all("net.stem.norm.running_var", float("inf")))
    write_ckpt(place / "huge.ckpt", set_all("net.stem.conv.weight", 3e38))
    return place


def commands(place: Path, checkpoint: Path) -> dict[str, list[str]]:
    """Every command that computes with a checkpoint."""
    root = ["--data.root", str(place / "data"), *DATA, *CPU]
    given, video = ["--checkpoint", str(checkpoint)], str(place / "data/test/clap/0.mp4")
    return {
        "validate": ["train", "validate", *root, *given],
        "test": ["train", "test", *root, *given, "--json", "result.json"],
        "train predict": ["train", "predict", *root, *given, "--csv", "all.csv"],
        "train predict --json": ["train", "predict", *root, *given, "--json", "all.jsonl"],
        "predict": ["predict", video, *given, "--views", "1x1", "--json", "out.json"],
        "predict --csv": ["predict", video, *given, "--views", "1x1", "--csv", "out.csv"],
        "timeline": ["predict", video, *given, "--timeline", "--json", "out.json"],
        "report": ["predict", video, *given, "--report", "page.html"],
        "attend": ["attend", video, *given],
        "attend --data": ["attend", "--data", str(place / "data"), *given, "--json", "a.json"],
        "extract": ["extract", video, *given],
        "compare": ["compare", str(checkpoint), "--no-speed", "--data", str(place / "data")],
        "export": ["export", *given, "--format", "torch-export"],
    }


OTHERS = {
    "fit --resume": ["train", "fit", "--resume"],
    "fit --model.pretrained": ["train", "fit", "--model.pretrained"],
    "convert": ["convert"],
    "serve": ["serve", "--port", "0", "--checkpoint"],
}
ALL = (*commands(Path(), Path()), *OTHERS)
MORE = {"predict --csv", "train predict --json", "attend"}  # a command of which another is tried


@pytest.mark.parametrize(
    ("command", "file"),
    [
        *mostly_slow([(name, "nan.ckpt") for name in ALL], quick=set(ALL) - MORE),
        *mostly_slow([(name, "inf.ckpt") for name in ALL], quick=["predict", "fit --resume"]),
    ],
)
def test_weights_that_are_not_finite_are_refused(
    command: str,
    file: str,
    place: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = commands(place, place / file).get(command) or [*OTHERS[command], str(place / file)]
    argv += {"convert": ["a.safetensors"]}.get(command, [])
    if argv[1] == "fit":
        argv += ["--data.root", str(place / "data"), *DATA, *CPU]
    assert main(argv) in (1, 2)
    shown = capsys.readouterr()
    assert f"{file}: net.stem" in shown.err + shown.out or f"{file}: stem" in shown.err + shown.out
    assert "contains NaN or infinity" in shown.err + shown.out
    assert "Traceback" not in shown.err
    assert "%" not in shown.out
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize(
    "command",
    mostly_slow(
        commands(Path(), Path()),
        quick=["test", "train predict --json", "predict", "timeline", "attend --data", "compare"],
    ),
)
def test_answers_that_are_not_finite_are_no_score(
    command: str, place: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(commands(place, place / "huge.ckpt")[command]) in (1, 2)
    shown = capsys.readouterr()
    assert "finite" in shown.err + shown.out
    assert "Traceback" not in shown.err
    told = [line for line in shown.out.splitlines() if "the most frequent class" not in line]
    assert "%" not in "".join(told)  # of the data alone is no score
    assert "nan" not in shown.out
    for path in tmp_path.rglob("*.json*"):
        for line in [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines():
            assert not json.loads(line, parse_constant=pytest.fail).get("predictions")


@pytest.mark.parametrize("key", ["state_dict", "current_model_state"])
def test_python_refuses_them_as_well(key: str, place: Path, tmp_path: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        state = {name: value.clone() for name, value in content["state_dict"].items()}
        state["net.stem.conv.weight"][0] = float("nan")
        content[key] = state

    path = write_ckpt(tmp_path / "a.ckpt", spoil)
    with pytest.raises(CheckpointError, match=r"a.ckpt: .*stem.conv.weight contains NaN"):
        VideoClassifier.load_from_checkpoint(path)
    if key == "state_dict":
        with pytest.raises(CheckpointError, match="contains NaN"):
            create_model("tiny_i3d_nl1", pretrained=str(path), width=8)


def test_json_is_json() -> None:
    value = {"a": [float("nan"), (float("inf"), 1.5)], "b": {"c": float("-inf")}, "d": "ü\udcff"}
    text = json_text(value, indent=1)
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": [None, [None, 1.5]],
        "b": {"c": None},
        "d": "ü\udcff",
    }
    assert json_text({"ü": 1}) == '{"ü": 1}'
    assert json_text({"ü": 1}, ascii=True) == '{"\\u00fc": 1}'


def test_all_json_is_written_by_one_function() -> None:
    inner = {"jobs.py", "process.py", "worker.py", "walk.py"}
    for path in (ROOT / "videonl").rglob("*.py"):
        # Between our own processes, and in a cache of names, there is no number to write.
        if path.name not in {"escapes.py", *inner}:
            assert not re.search(r"json\.dumps?\(", path.read_text()), path.name
