"""``train.py``: its help, its errors, its four commands."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main
from videonl.cli.settings import check_key, flatten, merge, parse_value, read_flags
from videonl.cli.train_help import PAGES, USAGE
from videonl.cli.train_settings import make_parser
from videonl.errors import VideoNLError

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    *("--model.name", "tiny_i3d_nl1", "--model.options.width", "8"),
    *("--recipe.optimizer", "adamw", "--recipe.reference_batch", "2"),
    *("--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("cli"))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    assert main(["train", "fit", "--data.root", str(data), "--out", str(out), *SMALL, *FLAGS]) == 0
    return next(out.glob("*/*"))


def error_of(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one sentence of a wrong call."""
    assert main(["train", *argv]) == 2
    message = capsys.readouterr().err.strip()
    assert "Traceback" not in message
    assert len(message.splitlines()) == 1
    return message.removeprefix("videonl train: error: ")


@pytest.mark.parametrize("command", ["", *PAGES])
def test_help_is_short_and_instant(command: str) -> None:
    start = time.perf_counter()
    argv = [sys.executable, "train.py", *([command] if command else []), "--help"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 10  # a shared machine; torch alone would take longer
    assert len(done.stdout.splitlines()) < 60
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


@pytest.mark.parametrize("command", PAGES)
def test_help_names_only_options_that_exist(command: str) -> None:
    known = {action.dest for action in make_parser(command)._actions}
    named = set(re.findall(r"--([a-z][\w.]*)", PAGES[command] + USAGE)) - {"help", "help_all"}
    named = {key for key in named if not key.startswith(("section", "model.options."))}
    if command != "fit":
        named -= {"resume"}
    assert named <= known | {"config", "checkpoint", "data.root"}, named - known


def test_defaults_in_the_help_are_the_defaults() -> None:
    parser = make_parser("fit")
    for key, shown in re.findall(r"--((?:recipe|trainer)\.\w+) .*\((\S+?)(?:\)|:)", PAGES["fit"]):
        default = parser.get_defaults()[key]
        if isinstance(default, (int, float)) and not isinstance(default, bool):
            assert float(shown.rstrip(",")) == default, key


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["fitt"], "did you mean fit?"),
        (["fit"], "Say --data.root DIR"),
        (["fit", "--data.rot", "x"], "did you mean --data.root"),
        (["fit", "--data.roo", "x"], "--data.roo is no option"),  # no abbreviations
        (["fit", "--learning_rate", "3"], "did you mean --recipe.learning_rate?"),
        (["fit", "--modle.name", "x"], "--model.name?"),
        (["fit", "videos"], "'videos' belongs to no option"),
        (["fit", "--config", "nope.yaml"], "there is no such file"),
        (["fit", "--config", "configs/sampel.yaml"], "did you mean configs/sample.yaml?"),
        (["fit", "--data.root", "/nowhere/at/all"], "/nowhere/at/all does not exist"),
        (["fit", "--data.root", "x", "--data.batch_size", "many"], "it must be int"),
        (["fit", "--data.root", "x", "--recipe.schedule", "up"], "cosine or step or constant"),
        (["test", "--data.root", "x"], "Say --checkpoint PATH"),
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
    assert f"{twice}, line 3: the key 'model' stands twice" in text
    text = error_of(capsys, "fit", *root, "--model.options", "{width: 8, width: 9}")
    assert "the key 'width' stands twice" in text
    (tmp_path / "wrong.yaml").write_text("model:\n  nam: x\n")
    unknown = error_of(capsys, "fit", "--config", str(tmp_path / "wrong.yaml"))
    assert "'model.nam' is no option; did you mean model.name?" in unknown
    gone = str(tmp_path / "gone.ckpt")
    assert "gone.ckpt" in error_of(capsys, "fit", *root, *SMALL, "--model.pretrained", gone)
    assert "does not exist" in error_of(capsys, "fit", *root, *SMALL, "--resume", gone)


def test_values_of_the_command_line() -> None:
    flags = read_flags(["--a", "1e-4", "--b=x", "--c", "--d", "-1", "--e", "10x3", "--f", "[1, 2]"])
    assert flags == [("a", 1e-4), ("b", "x"), ("c", True), ("d", -1), ("e", [10, 3]), ("f", [1, 2])]
    assert parse_value("2026-01-01") == "2026-01-01"
    assert parse_value("C: D") == "C: D"
    known = ["model.name", "model.options"]
    pairs = list(flatten({"model": {"name": "a", "options": {"width": 8}}}, known))
    merged = merge([*pairs, ("model.options.depth", 50), ("model.name", "b")], known)
    assert merged == {"model.name": "b", "model.options": {"width": 8, "depth": 50}}
    with pytest.raises(VideoNLError, match=r"--model\.nam is no option"):
        check_key("model.nam", known, source="")


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
    assert "clip@1" in shown
    assert "6 views each" in shown
    assert "GMACs per view" in shown
    content = json.loads(file.read_text())
    assert content["protocol"]["views"] == "2x3"
    assert content["protocol"]["frames"] == 4  # of the checkpoint, not of the defaults
    assert content["cost"]["views"] == 6
    assert content["environment"]["versions"]["videonl"]
    assert content["environment"]["processor"]
    assert content["environment"]["cores"] >= 1
    assert content["seed"] == 0
    assert content["data_census"]
    assert content["census"]["videos_per_class"]
    assert main(["train", "validate", *common]) == 0
    assert "1 view each" in capsys.readouterr().out
    table = tmp_path / "p.csv"
    assert main(["train", "predict", *common, "--csv", str(table), "--data.views", "1x1"]) == 0
    assert len(table.read_text().splitlines()) == 1 + 4


def test_clips_come_from_the_network_where_nobody_says_others(data: Path, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path), "--name", "x", "--data.batch_size", "2"]
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
