"""Any words in lists, YAML files, names and values: an exit code and a sentence, never a trace."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main

ODD = ["", "nan", "inf", "1e5", "-1", "0", "1", "2.5", "1e999", "9" * 30, "null", "yes", "true"]
ODD += ["=1+1", "#x", "a|b", "<b>", "$x$", '"q"', "'", "{", "[", "]", "a: b", "{a: 1}", "[1, 2]"]
ODD += ["..", "/", "~", "~nobody", "a/b", "x" * 300, "\u4e2d", "\u05d0", "\U0001f600", "\udce9"]
ODD += [
    "\x1b[2J",
    "\r",
    "\u2028",
    "\ufeff",
    "os:system",
    "!!python/name:os.system",
    "&a [*a]",
    "%s",
]
WORDS = st.sampled_from(ODD) | st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=6
)
VALUES: Any = st.recursive(
    WORDS | st.integers() | st.floats() | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
KEYS = ["data", "data.frames", "data.fps", "data.jitter", "data.batch_size", "data.val_share"]
KEYS += ["data.class_names_file", "data.val_list", "model.name", "model.options", "model.fresh"]
KEYS += ["model.preprocessing", "recipe", "recipe.milestones", "recipe.optimizer", "recipe.ema"]
KEYS += ["recipe.mixup", "recipe.batch_norm", "trainer", "trainer.precision", "trainer.callbacks"]
KEYS += ["trainer.gradient_clip_val", "trainer.limit_val_batches", "seed", "name", "resume"]
SWEEP = ["entries", "views", "clip", "num_classes", "train", "scales", "batch_size", "group"]
OPTIONS = ["width", "preset", "non_local", "non_local_options", "preprocessing", "layers", "norm"]
TABLES = st.dictionaries(st.sampled_from(KEYS) | WORDS, VALUES, min_size=1, max_size=2)
SMALL = ["--model.name", "tiny_i3d", "--model.options.width", "8", "--trainer.accelerator", "cpu"]
SMALL += ["--trainer.fast_dev_run", "1", *FLAGS]
VIDEO = "data/train/dark/0.mp4"
PROFILES = [
    pytest.param(1, id="few"),
    pytest.param(100, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data set, and the folder that the commands are called from."""
    place = tmp_path_factory.mktemp("words")
    write_small_data(place / "data", train=1, val=1)
    before = Path.cwd()
    os.chdir(place)
    yield place
    os.chdir(before)


def ends_well(place: Path, argv: list[str]) -> None:
    """Exit code 0, 1 or 2, one sentence per problem, and no file is touched but below out/."""
    files = contents(place)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code: Any = main(argv)
        except SystemExit as ended:  # of argparse
            code = ended.code
    text = err.getvalue()
    assert code in (0, 1, 2), (argv, code)
    assert "Traceback" not in text + out.getvalue(), (argv, text)
    assert "unexpected error" not in text, (argv, text)
    lines = [line for line in text.splitlines() if line.startswith("videonl")]
    assert len(lines) == 1 or code != 2, (argv, text)
    assert lines or code == 0, (argv, text)
    assert contents(place) == files, argv


def contents(place: Path) -> dict[str, bytes]:
    """Every file but those of runs, by its path."""
    return {
        str(path): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and place / "out" not in path.parents
    }


def run_many(examples: int, strategy: Any, test: Callable[[Any], None]) -> None:
    """Hypothesis with so many examples, the same ones each time."""
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    chosen = settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=quiet,
    )
    chosen(given(strategy)(test))()


def fit(place: Path, *words: str) -> list[str]:
    out = ["--out", str(place / "out")]
    return ["train", "fit", "--data.root", str(place / "data"), *SMALL, *out, *words]


@pytest.mark.parametrize("examples", PROFILES)
def test_values(examples: int, place: Path) -> None:
    keys = [key for key in KEYS if "." in key] + ["seed", "name"]
    flags = st.tuples(st.sampled_from(keys), WORDS)
    run_many(examples, flags, lambda pair: ends_well(place, fit(place, f"--{pair[0]}={pair[1]}")))
    options = st.tuples(st.sampled_from(OPTIONS) | WORDS, WORDS)
    cost = ["cost", "tiny_i3d_nl1", "--option"]
    run_many(4 * examples, options, lambda pair: ends_well(place, [*cost, "=".join(pair)]))


@pytest.mark.parametrize("examples", PROFILES)
def test_names(examples: int, place: Path) -> None:
    run_many(4 * examples, WORDS, lambda word: ends_well(place, ["compare", "--no-speed", word]))
    run_many(4 * examples, WORDS, lambda word: ends_well(place, [word]))
    predict = ["predict", "--checkpoint"]
    run_many(4 * examples, WORDS, lambda word: ends_well(place, [*predict, f"x{word}", VIDEO]))


@pytest.mark.parametrize("examples", PROFILES)
def test_yaml(examples: int, place: Path, tmp_path: Path) -> None:
    file = tmp_path / "words.yaml"

    def config(table: dict[str, Any]) -> None:
        file.write_text(yaml.safe_dump(table), "utf-8", "surrogateescape")
        ends_well(place, fit(place, "--config", str(file)))

    def sweep(table: dict[str, Any]) -> None:
        file.write_text(yaml.safe_dump(table), "utf-8", "surrogateescape")
        ends_well(place, ["compare", "--no-speed", "--sweep", str(file)])

    run_many(examples, TABLES, config)
    tables = st.dictionaries(st.sampled_from(SWEEP), VALUES, max_size=2)
    run_many(4 * examples, tables.map(lambda table: {"entries": {"a": "nix"}, **table}), sweep)


@pytest.mark.parametrize("examples", PROFILES)
def test_lists(examples: int, place: Path, tmp_path: Path) -> None:
    file = tmp_path / "words.csv"
    videos = st.sampled_from([f"train/{n}/0.mp4" for n in ("dark", "light")]) | WORDS
    lines = st.tuples(videos, st.sampled_from([",", " ", "\t", ";", ""]), WORDS).map("".join)
    lists = st.lists(lines, max_size=4).map("\n".join)

    def train(text: str) -> None:
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        ends_well(place, fit(place, "--data.train_list", str(file)))

    def check(text: str) -> None:
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        ends_well(place, fit(place, "--data.class_names_file", str(file)))

    run_many(examples, lists, train)
    run_many(examples, lists, check)
