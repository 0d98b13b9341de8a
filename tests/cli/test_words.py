"""What the commands print: counts with the right plural, no markup, commands as they are typed."""

import ast
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.small_data import write_small_data
from tests.videos import write_video
from videonl.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "checkpoints" / "sample_nl.safetensors"
# "1 classes" and the like; a part of a larger number or of a word is none.
ONE_OF_MANY = re.compile(r"(?<![\w.×/@-])1 (?!class\b|loss\b|is\b|was\b|has\b)[A-Za-z]+s\b")
COUNT = re.compile(
    r" (?:(?:test|training|more|other) )?(?:videos|epochs|classes|seeds|GPUs|files|frames|clips|"
    r"trainings|networks|entries|steps|batches|windows|pairs|groups|threads|rounds|folders|devices)"
    r"\b(?!/)"  # not "clips/s"
)
HONEST = {"width", "epochs"}  # "4x32x32 clips"; "the best of 2 epochs", which one epoch never is


def strings(path: Path) -> Iterator[ast.expr]:
    """The strings of a module, without docstrings."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if (text or isinstance(node, ast.JoinedStr)) and id(node) not in docstrings:
            assert isinstance(node, ast.expr)
            yield node


@pytest.mark.parametrize("room", ["cli", "training", "evaluation", "reports"])
def test_counts_have_their_plural_and_texts_no_markup(room: str) -> None:
    for path in sorted((ROOT / "videonl" / room).glob("*.py")):
        for node in strings(path):
            where = f"{path.name}:{node.lineno}"
            if isinstance(node, ast.Constant):
                assert not re.search(r"can not|\(s\)|:\w+:`", str(node.value)), where
                continue
            assert isinstance(node, ast.JoinedStr)
            for value, after in zip(node.values, node.values[1:], strict=False):
                if isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant):
                    counts = COUNT.match(str(after.value)) and value.format_spec is None
                    assert not counts or ast.unparse(value.value) in HONEST, where


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_no_markup_and_no_empty_defaults(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = [[command, "--help"]]
    pages += [["train", name, "--help"] for name in ("fit", "test")] if command == "train" else []
    for page in pages:
        with suppress(SystemExit):
            main(page)
    said = capsys.readouterr().out
    assert not re.search(r"`|:\w+:|default: (None|False|\[\]|\()", said)
    assert f"usage: videonl {command}" in said
    assert "train.py" not in said
    assert "infer.py" not in said


@pytest.mark.parametrize(("script", "command"), [("train.py", "train"), ("infer.py", "predict")])
def test_a_script_is_named_as_it_was_started(
    script: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with suppress(SystemExit):
        main([command, "--help"], script=script)
    said = capsys.readouterr().out
    assert f"usage: {script}" in said
    assert f"python {script} " in said
    assert "videonl train" not in said


def test_a_wrong_value_is_named_with_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["predict", "a.mp4", "--top-k", "0"], "predict: error: --top-k '0': it must be a whole"),
        (["sample", "--train", "-1"], "sample: error: --train '-1': it must be a whole number"),
        (["prepare", "a", "b", "--preset", "quick"], "--preset: invalid choice: 'quick' (choose"),
        (["cost", "tiny_i3d", "--clip", "0x3"], "cost: error: --clip: '0x3' is not a clip: write"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2
        assert said in capsys.readouterr().err


def test_nothing_says_1_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "one" / "a" / "0.mp4", 9)
    own = ["--checkpoint", str(SAMPLE), "--no-isolate", "--device", "cpu"]
    for words in (
        ["sample", "--root", "made", "--train", "1", "--val", "0", "--test", "0", "--workers", "0"],
        ["check", "one", "--workers", "1"],
        ["check", "one"],
        ["prepare", "one", "ready", "--short-side", "32", "--workers", "1"],
        ["extract", "one", "--out", "features", *own],
        ["predict", "one", "--timeline", *own],
    ):
        assert main(words) == 0, words
        said = "".join(capsys.readouterr())
        assert not ONE_OF_MANY.findall(said), said


@pytest.mark.slow
def test_nothing_says_1_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_small_data(tmp_path / "data", train=1, val=1, test=1)
    shutil.rmtree(tmp_path / "data" / "test" / "light")
    small = ["--data.num_workers", "0", "--data.batch_size", "1", "--model.options.width", "4"]
    small += ["--trainer.accelerator", "cpu"]
    fit = ["--model.name", "tiny_i3d_nl1", "--trainer.max_epochs", "1", "--name", "x", *small]
    table = ["--train", "--seeds", "1", "--epochs", "1", "--rounds", "1", "--data", "data"]
    for words in (
        ["train", "fit", "--data.root", "data", *fit],
        ["train", "fit", "--data.root", "data", *fit, "--resume", "auto"],
        ["train", "test", "--data.root", "data", "--checkpoint", "runs/x"],
        ["train", "predict", "--data.root", "data", "--checkpoint", "runs/x"],
        ["compare", "tiny_i3d", "tiny_i3d_nl1", *table, "--out", "table", *small[:6]],
    ):
        assert main(words) == 0, words
        said = "".join(capsys.readouterr())
        assert not ONE_OF_MANY.findall(said), said
    (summary,) = tmp_path.glob("runs/x/*/summary.md")
    for file in (summary, tmp_path / "table" / "compare.md"):
        assert not ONE_OF_MANY.findall(file.read_text(encoding="utf-8"))
