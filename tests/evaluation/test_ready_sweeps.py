"""The sweeps in configs/sweeps: each parses at three scales; networks and budgets are real."""

from pathlib import Path

import pytest
import torch
import yaml

from tests.marks import mostly_slow
from videonl.cli.main import main
from videonl.data import VideoDataModule
from videonl.evaluation import Budget, Sweep, count_cost, read_sweep, receptive_field
from videonl.models import create_model
from videonl.sample import SampleParameters, write_sample
from videonl.training import Recipe, make_recipe
from videonl.weights import find_published

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs" / "sweeps"
# One per table of the paper: 2a to 2g.
TABLES = ("affinity", "stage", "depth", "space_time", "conv3d", "non_local_3d", "length")
OWN = ("cue", "appearance")  # sample tasks of our own
KINETICS = 234_640  # training videos, as many as 14,665 iterations of 16 clips
SCALES = (None, "ut", "kinetics400")


def sweep(name: str, scale: str | None) -> Sweep:
    return read_sweep(FOLDER / f"{name}.yaml", scale=scale)


def macs(one: Sweep, frames: int, size: int) -> dict[str, int]:
    with torch.device("meta"):
        nets = {e.name: create_model(e.target, num_classes=3, **e.options) for e in one.entries}
    return {k: count_cost(net, clip_shape=(3, frames, size, size)).macs for k, net in nets.items()}


def test_there_is_one_per_table_of_the_paper() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {*TABLES, "distance", *OWN, "common"}


@pytest.mark.parametrize("scale", [None, "near"])
def test_the_networks_of_the_distance_curve_cost_the_same(scale: str | None) -> None:
    one = sweep("distance", scale)
    assert one.train is not None
    budget = Budget(**one.train)
    counted = macs(one, budget.frames or 0, budget.size or 0)
    # At the near scale the maps are smaller, so the blocks cost less; the plain ones get more.
    assert max(counted.values()) < 1.12 * min(counted.values())
    assert len(budget.seeds) == 3


def check_published_recipe(
    name: str, starts: list[str | None], budget: Budget, recipe: Recipe
) -> None:
    """The paper's: everything decays, no warm-up; long clips start from those of 32 frames."""
    assert (recipe.norm_weight_decay, recipe.bias_weight_decay, recipe.warmup) == (1e-4, 1e-4, 0)
    long = name == "length"
    if long:
        assert starts == ["official/c2d_32x2", "official/i3d_32x2", "official/i3d_nl_32x2"]
        assert all(find_published(str(start)) for start in starts)
    assert recipe.batch_norm == ("frozen" if long else "train")
    steps = budget.epochs * KINETICS / (16 if long else 64)
    assert steps == pytest.approx(400_000, rel=0.02)
    drops = [round(at * 400) for at in recipe.milestones]
    assert (drops, recipe.learning_rate) == ([150, 300], 0.0025 if long else 0.01)


@pytest.mark.parametrize(
    ("name", "scale"),
    mostly_slow(
        [(name, scale) for name in TABLES for scale in SCALES],
        quick=[("length", "kinetics400"), ("affinity", "ut"), *((name, None) for name in TABLES)],
    ),
)
def test_every_sweep_builds_at_every_scale(name: str, scale: str | None) -> None:
    one = sweep(name, scale)
    assert len(one.entries) >= 3
    assert one.train is not None
    budget = Budget(**one.train)
    recipe = make_recipe(dict(budget.recipe))
    assert recipe.weight_decay < 0.1  # 1e-4 is a number
    VideoDataModule("videos", batch_size=budget.batch_size, **budget.data)
    # A small sweep must never train on the sample data by mistake for another set.
    assert (one.settings["data"] is None) == (scale is not None)
    starts = [entry.pretrained or budget.pretrained for entry in one.entries]
    assert all(starts) if scale == "kinetics400" else not any(starts)
    if scale == "kinetics400":
        check_published_recipe(name, starts, budget, recipe)
    assert len(budget.seeds) == (1 if scale == "kinetics400" else 5)
    small = [entry.target.startswith("tiny_") for entry in one.entries]
    assert not any(small) if scale == "kinetics400" else all(small)
    counted = macs(one, budget.frames or 0, budget.size or 0)
    assert len(set(counted.values())) > 1
    assert all(value > 0 for value in counted.values())


@pytest.mark.parametrize("name", [*TABLES, *OWN])
def test_small_sweeps_follow_the_demo(name: str) -> None:
    content = yaml.safe_load((ROOT / "configs" / "sample.yaml").read_text(encoding="utf-8"))
    one = sweep(name, None)
    assert one.train is not None
    assert one.train["recipe"] == content["recipe"]
    assert one.train["epochs"] == content["trainer"]["max_epochs"]
    wanted = {k: v for k, v in content["model"]["options"].items() if k.startswith("pool1")}
    for entry in one.entries:
        assert wanted.items() <= entry.options.items()


def test_the_networks_of_the_cue_cost_the_same_and_see_less_than_its_gap() -> None:
    one = sweep("cue", None)
    budget = Budget(**one.train)
    assert (budget.frames, budget.stride) == (16, 2)
    counted = macs(one, 16, 48)
    assert max(counted.values()) < 1.13 * min(counted.values())
    assert all(v == pytest.approx(counted["plain"], rel=0.08) for v in counted.values())
    plain = next(entry for entry in one.entries if entry.name == "plain")
    model = create_model(plain.target, num_classes=3, **plain.options)
    assert receptive_field(model, clip_shape=(16, 48, 48))[0] < 16 // budget.stride


@pytest.mark.parametrize("name", TABLES)
def test_what_a_sweep_varies_is_all_that_differs(name: str) -> None:
    """Clip and budget stand in the base, and trunk once; the header names the paper's figures."""
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert content["base"] == "common.yaml"
    assert len((sweep(name, None).train or {})["seeds"]) == 5
    assert "# The paper, top-1" in text
    for scale in content["scales"]:
        assert f"--sweep configs/sweeps/{name}.yaml --scale {scale} --data DIR" in text


def test_the_small_networks_against_3d_convolution_cost_the_same() -> None:
    motions, hues = sweep("conv3d", None), sweep("appearance", None)
    assert motions.entries == hues.entries
    counted = macs(motions, 4, 48)
    assert all(v == pytest.approx(counted["NL I3D 3x3x3"], rel=0.06) for v in counted.values())


@pytest.mark.slow  # test_cost_published has these networks and their ratios
def test_the_large_ones_have_the_papers_ratios() -> None:
    counted = macs(sweep("conv3d", "kinetics400"), 32, 224)
    assert counted["NL C2D"] / counted["C2D"] == pytest.approx(1.2, abs=0.05)
    assert counted["I3D 3x1x1"] / counted["C2D"] == pytest.approx(1.5, abs=0.05)
    assert counted["I3D 3x3x3"] / counted["C2D"] == pytest.approx(1.8, abs=0.05)


@pytest.mark.slow
def test_a_sweep_runs_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = SampleParameters(train=6, val=3, test=3, size=32, frames=32, distance=(8, 16))
    write_sample(tmp_path / "data", parameters=small, workers=0)
    argv = ["compare", "--sweep", str(FOLDER / "space_time.yaml"), "--data", str(tmp_path / "data")]
    argv += ["--epochs", "1", "--seeds", "1", "--train-batch", "3", "--no-speed"]
    assert main([*argv, "--device", "cpu", "--out", str(tmp_path / "out")]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in ("baseline", "space", "time", "spacetime"))


def test_another_scale_without_data_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["compare", "--sweep", str(FOLDER / "affinity.yaml"), "--scale", "ut", "--no-speed"]
    assert main(argv) != 0
    assert "--data" in capsys.readouterr().err


@pytest.mark.slow
def test_the_commented_commands_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is read as it stands, and refused for nothing but the data that is not there."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    started = 0
    for path in FOLDER.glob("*.yaml"):
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.removeprefix("#   ").split()
            if not line.startswith("#   ") or words[:2] == ["videonl", "sample"]:
                continue
            if words[0] == "python":
                assert (ROOT / words[1]).is_file(), line
                continue
            assert words[:2] == ["videonl", "compare"], line
            assert f"configs/sweeps/{path.name}" in words, line
            assert main(words[1:]) == 2, line
            error = capsys.readouterr().err
            data = "DIR" if "DIR" in words else "data/"
            assert data in error
            assert "Traceback" not in error, error
            started += 1
    assert started == 3 * len(TABLES) + 2 + len(OWN)
