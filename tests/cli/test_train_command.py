"""``train.py``: its help, its errors, its four commands."""

import inspect
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Trainer

from tests.cli.train_options import COMMANDS, listed, shown_by
from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main
from videonl.data import VideoDataModule
from videonl.training import Recipe, VideoClassifier

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    *("--model.name", "tiny_i3d_nl1", "--model.options.width", "8"),
    *("--recipe.optimizer", "adamw", "--recipe.reference_batch", "2"),
    *("--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"),
]
FILE = """\
name: 7
model: {options: {width: 4}}
model.options.dropout: 0.25
recipe: {weight_decay: 1e-4, warmup: .5, milestones: [0.1]}
"""
WRITTEN = [
    *("--recipe.learning_rate", "1e-2", "--seed", "5", "--data.views", "10x3"),
    *("--data.jitter=36×40", "--recipe.checkpoint_stages", "[res2, res3]"),
    *("--trainer.max_time", "00:01:00:00", "--trainer.num_sanity_val_steps", "-1"),
    "--trainer.logger",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("cli"))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    (out / "a.yaml").write_text(FILE)
    argv = ["--data.root", str(data), f"--out={out}/x=y", "--config", str(out / "a.yaml")]
    assert main(["train", "fit", *argv, *SMALL, *FLAGS, *WRITTEN]) == 0
    return next(out.glob("x=y/*/*"))


def error_of(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one sentence of a wrong call."""
    assert main(["train", *argv]) == 2
    message = capsys.readouterr().err.strip()
    assert "Traceback" not in message
    assert len(message.splitlines()) == 1
    return message.removeprefix("videonl train: error: ")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_short(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *([command] if command else []), "--help"], script="train.py") == 0
    lines = capsys.readouterr().out.splitlines()
    assert 5 < len(lines) < 60
    assert all(len(line) <= 100 for line in lines)


def test_help_is_instant() -> None:
    start = time.perf_counter()
    argv = [sys.executable, "train.py", "fit", "--help"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 10  # a shared machine; see the next test
    assert "--recipe.learning_rate" in done.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from videonl.cli.main import main\n"
        "for command in [[], *([name] for name in ('fit', 'validate', 'test', 'predict'))]:\n"
        "    assert main(['train', *command, '--help']) == 0\n"
        "heavy = {'torch', 'lightning', 'jsonargparse', 'numpy', 'av'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, check=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_all_options_are_listed_without_markup(command: str) -> None:
    assert not re.search(r"`|:\w+:`|Args:|Returns:", shown_by(command, "--help_all"))
    shown = set(listed(command))
    asked = {key for key in shown if key.endswith(".help")}
    assert {"trainer.callbacks.help", "trainer.strategy.help"} <= asked
    built = {
        "trainer": Trainer,
        "recipe": Recipe,
        "data": VideoDataModule,
        "model": VideoClassifier,
    }
    for section, kind in built.items():
        taken = {key.partition(".")[2] for key in shown - asked if key.startswith(f"{section}.")}
        known = set(inspect.signature(kind).parameters)
        assert taken == known if section in ("trainer", "recipe") else taken < known


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_only_options_that_exist(command: str) -> None:
    known = set(listed(command))
    pages = shown_by(command, "--help") + shown_by("--help")
    named = set(re.findall(r"--([a-z][\w.-]*)", pages)) - {"help", "help_all"}
    named = {key.replace("-", "_") for key in named}
    named = {key for key in named if not key.startswith(("section", "model.options."))}
    if command != "fit":
        named -= {"resume"}
    named -= {"checkpoint"} if command == "fit" else set()
    assert named <= known, named - known


def test_defaults_in_the_help_are_the_defaults() -> None:
    options, page = listed("fit"), shown_by("fit", "--help")
    pattern = r"--((?:recipe|trainer)\.\w+) .*\(([\d.e-]+)(?:\)|:)"
    named = re.findall(pattern, page)
    assert {"trainer.max_epochs", "recipe.warmup", "recipe.weight_decay"} <= {n for n, _ in named}
    for key, said in named:
        default = re.search(r"default: ([\d.e-]+)\)", options[key])
        assert default is not None
        assert float(said) == float(default[1]), key


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["fitt"], "did you mean fit?"),
        (["fit"], "--data.root DIR"),
        (["fit", "--data.rot", "x"], "did you mean --data.root"),
        (["fit", "--data.roo", "x"], "--data.roo is not an option"),  # no abbreviations
        (["fit", "--learning_rate", "3"], "did you mean --recipe.learning_rate?"),
        (["fit", "--modle.name", "x"], "--model.name?"),
        (["fit", "videos"], "'videos' does not belong to an option"),
        (["fit", "--config", "nope.yaml"], "there is no such file"),
        (["fit", "--config", "configs/sampel.yaml"], "did you mean configs/sample.yaml?"),
        (["fit", "--data.root", "/nowhere/at/all"], "/nowhere/at/all does not exist"),
        (["fit", "--data.root", "x", "--data.batch_size", "many"], "it must be a whole number"),
        (["fit", "--trainer.max_ep", "3"], "--trainer.max_ep is not an option; did you mean"),
        (["fit", "--trainer", "3"], "--trainer is not an option"),
        (["fit", "--trainer.max_epochs", "--seed", "1"], "--trainer.max_epochs needs a value"),
        (["fit", "--name"], "--name needs a value: --name VALUE"),
        (["fit", "--seed", "null"], "--seed null: it must be a whole number"),
        (["fit", "--data.frames", "[1, 2]"], "--data.frames [1, 2]: it must be a whole number"),
        (["fit", "--data.views", "[1, 2, 3]"], "--data.views [1, 2, 3]: it must be tuple with 2"),
        (["fit", "--recipe.warmup", "{a: 1}"], "--recipe.warmup {'a': 1}: it must be a number"),
        (["fit", "--recipe.checkpoint_stages", "res2"], "'res2': it must be a list"),
        (["fit", "--model.options", "3"], "--model.options 3: it must be a table such as {a: 1}"),
        (["fit", "--model.options.a.b", "3"], "--model.options.a.b is not an option"),
        (
            ["fit", "--data.root", "data", "--data.train_list", "C: D"],
            "the list C: D cannot be read",
        ),
        (["fit", "--model.compile", "maybe"], "--model.compile 'maybe': it must be true or false"),
        (["fit", "--trainer.precision", "17"], "it must be auto or "),
        (["fit", "--trainer.limit_val_batches", "few"], "'few': it must be a number"),
        (["fit", "--data.root", "x", "--recipe.schedule", "up"], "cosine or step or constant"),
        (["test", "--data.root", "x"], "--checkpoint PATH"),
        (["test", "--data.root", "x", "--checkpoint", "/no/such"], "/no/such is neither a file"),
    ],
)
def test_mistakes_get_one_sentence(
    argv: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    assert message in error_of(capsys, *argv)


def test_mistakes_about_the_data_and_the_network(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--data.root", str(data)]
    assert "did you mean tiny_i3d_nl" in error_of(
        capsys, "fit", *root, "--model.name", "tiny_i3d_n"
    )
    wrong = error_of(capsys, "fit", *root, *SMALL, "--model.options.widht", "3")
    assert "did you mean width?" in wrong
    assert "empty" in error_of(capsys, "fit", "--data.root", str(tmp_path))
    (tmp_path / "broken.yaml").write_text("model: [\n")
    broken = error_of(capsys, "fit", "--config", str(tmp_path / "broken.yaml"))
    assert "is not YAML, line 2" in broken
    twice = tmp_path / "twice.yaml"
    twice.write_text("model: {name: tiny_i3d}\ndata: {}\nmodel: {options: {}}\n")
    text = error_of(capsys, "fit", "--config", str(twice))
    assert f"{twice}, line 3: the key 'model' is given twice" in text
    text = error_of(capsys, "fit", *root, "--model.options", "{width: 8, width: 9}")
    assert "the key 'width' is given twice" in text
    (tmp_path / "wrong.yaml").write_text("model:\n  nam: x\n")
    unknown = error_of(capsys, "fit", "--config", str(tmp_path / "wrong.yaml"))
    assert "'model.nam' is not an option; did you mean model.name?" in unknown
    for text, said in {
        "model: {name: a}\nmodel: {compile: true}\n": "line 2: the key 'model' is given twice",
        "data: {root: x, crop: 3, crop: 4}\n": "line 1: the key 'crop' is given twice",
        "model: {name: a}\nmodel.name: b\n": "the key 'model.name' is given twice",
        "data: 3\n": "'data' is a table of options, such as data: {frames: ...}, and no single",
        "trainer: [a]\n": "'trainer' is a table of options, such as trainer: {",
        "data: {root: x, crop: {size: 3}}\n": "--data.crop {'size': 3}: it must be a whole number",
        "data: {root: x, frames: null}\n": "--data.frames null: it must be a whole number",
        "model: {name: yes}\n": "--model.name True: it must be text",
    }.items():
        (tmp_path / "wrong.yaml").write_text(text)
        assert said in error_of(capsys, "fit", "--config", str(tmp_path / "wrong.yaml"))
    gone = str(tmp_path / "gone.ckpt")
    assert "gone.ckpt" in error_of(capsys, "fit", *root, *SMALL, "--model.pretrained", gone)
    assert "does not exist" in error_of(capsys, "fit", *root, *SMALL, "--resume", gone)


def test_values_of_files_and_of_the_command_line(run: Path) -> None:
    """As the run has kept them, which began with ``FILE`` and ``WRITTEN``."""
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert (run.parent.parent.name, run.parent.name) == ("x=y", "7")
    assert (settings["seed"], settings["name"]) == (5, "7")
    assert settings["model"]["options"] == {"width": 8, "dropout": 0.25}
    recipe, data, trainer = settings["recipe"], settings["data"], settings["trainer"]
    assert (recipe["learning_rate"], recipe["weight_decay"]) == (1e-2, 1e-4)
    assert (recipe["warmup"], recipe["milestones"]) == (0.5, [0.1])
    assert recipe["checkpoint_stages"] == ["res2", "res3"]
    assert (data["views"], data["val_views"], data["jitter"]) == ([10, 3], [1, 1], [36, 40])
    assert (trainer["max_time"], trainer["logger"]) == ("00:01:00:00", True)
    assert trainer["num_sanity_val_steps"] == -1


def test_a_run_holds_its_settings_and_can_be_tested(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = (run / "config.yaml").read_text()
    assert "name: tiny_i3d_nl1" in saved
    assert "learning_rate: 0.01" in saved
    file = tmp_path / "result.json"
    common = ["--checkpoint", str(run), "--data.root", str(data), "--data.decoder", "pyav"]
    common += ["--data.num_workers", "0", "--trainer.accelerator", "cpu"]
    assert main(["train", "test", *common, "--data.views", "2x3", "--json", str(file)]) == 0
    shown = capsys.readouterr().out
    for words in ("clip@1", "video@1", "6 views each", "GMACs per view"):
        assert words in shown
    content = json.loads(file.read_text())
    assert content["protocol"]["views"] == "2x3"
    assert content["protocol"]["frames"] == 4  # of the checkpoint, not of the defaults
    assert content["cost"]["views"] == 6
    assert content["environment"]["versions"]["videonl"]
    assert content["environment"]["processor"]
    assert content["environment"]["cores"] >= 1
    assert content["seed"] == 0
    assert content["data_census"]
    assert content["census"]["videos_per_class"] == {"dark": 2, "light": 2}
    assert set(content["per_class"]) == {"dark", "light"}
    assert main(["train", "validate", *common]) == 0
    assert "1 view each" in capsys.readouterr().out
    table = tmp_path / "p.csv"
    assert main(["train", "predict", *common, "--csv", str(table), "--data.views", "1x1"]) == 0
    assert len(table.read_text().splitlines()) == 1 + 4


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["test", "--recipe.learning_rate", "1"], "--recipe.learning_rate is for fit: test takes"),
        (
            ["validate", "--data.flip=0"],
            "--data.flip is about the clips of a training, and validate",
        ),
        (["test", "--data.balanced", "true"], "--data.balanced is about the clips of a training"),
        (["predict", "--model.multi_label", "true"], "--model.multi_label is for fit"),
        (["test", "--model.options.width=8"], "--model.options.width is for fit"),
        (["validate", "--out", "x"], "--out is for fit"),
        (["validate", "--data.views", "2x3"], "the option of validate is --data.val_views"),
        (["test", "--data.val_views", "2x1"], "the option of test is --data.views"),
    ],
)
def test_options_of_a_training_are_refused_in_a_test(
    argv: list[str], words: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *flags = argv
    assert main(["train", command, "--checkpoint", "x", "--data.root", str(data), *flags]) == 2
    assert words in capsys.readouterr().err


def test_clips_come_from_the_network_where_nobody_says_others(data: Path, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("name: x\n")  # without a file they follow the data
    out = ["--out", str(tmp_path), "--config", str(tmp_path / "x.yaml"), "--data.batch_size", "2"]
    out += ["--data.num_workers", "0", "--data.crop", "32", "--data.decoder", "pyav"]
    assert main(["train", "fit", "--data.root", str(data), *SMALL, *out]) == 0
    saved = (next(tmp_path.glob("x/*")) / "config.yaml").read_text()
    assert "frames: 8" in saved  # tiny networks are made for 8 frames, stride 2
    assert "stride: 2" in saved
    assert "short_side: 37" in saved  # 32 × 256 / 224


def test_going_on_with_a_run_needs_only_its_folder(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["train", "fit", "--data.root", str(data), "--out", str(tmp_path), *SMALL, *FLAGS]
    assert main(start) == 0
    folder = next(tmp_path.glob("*/*"))
    more = ["--trainer.max_epochs", "2"]
    assert main(["train", "fit", "--resume", str(folder), *more]) == 0
    assert "epoch 2/2" in capsys.readouterr().out
    assert list(tmp_path.glob("*/*")) == [folder]
    assert main([*start, "--trainer.max_epochs", "3", "--resume", "auto"]) == 0
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 2
    assert list(tmp_path.glob("*/*")) == [folder]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_a_sentence_and_a_checkpoint(
    data: Path, tmp_path: Path, number: signal.Signals
) -> None:
    flags = [*SMALL, *FLAGS, "--out", str(tmp_path), "--trainer.max_epochs", "500"]
    argv = [sys.executable, "train.py", "fit", "--data.root", str(data), *flags]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert any(line.startswith(b"epoch 2/") for line in process.stdout)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert b"Traceback" not in errors
    assert b"stopped; go on with --resume" in errors
    last = next(tmp_path.glob("*/*/last.ckpt"))
    assert torch.load(last, weights_only=True)["epoch"] >= 1
