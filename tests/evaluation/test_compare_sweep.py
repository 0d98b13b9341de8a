from pathlib import Path

import pytest
import yaml

from tests.small_data import write_small_data
from videonl.cli.main import main
from videonl.errors import VideoNLError
from videonl.evaluation import Budget, Entry, read_sweep

TEXT = """
entries:
  plain: tiny_i3d
  non-local: {model: tiny_i3d_nl1, options: {width: 8}}
  trained: runs/a/best.ckpt
data: data/sample/videos
views: 1x1
clip: 8x48
train:
  {epochs: 4, seeds: 3, recipe: {learning_rate: 0.05, optimizer: adamw}, data: {jitter: [48, 48]}}
scales:
  large:
    entries: {plain: i3d_r50, non-local: i3d_r50_nl5}
    data: kinetics
    clip: 32x224
    train: {seeds: [5], recipe: {learning_rate: 0.01}}
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(TEXT)
    return path


def test_sweep_as_it_stands(sweep: Path) -> None:
    found = read_sweep(sweep)
    assert found.entries == [
        Entry("tiny_i3d", "plain"),
        Entry("tiny_i3d_nl1", "non-local", {"width": 8}),
        Entry("runs/a/best.ckpt", "trained"),
    ]
    assert found.settings == {"data": "data/sample/videos", "views": "1x1", "clip": "8x48"}
    assert found.train is not None
    assert found.train["seeds"] == (0, 1, 2)
    assert Budget(**found.train).data == {"jitter": [48, 48]}


def test_a_scale_changes_what_it_names(sweep: Path) -> None:
    found = read_sweep(sweep, scale="large")
    assert found.entries == [Entry("i3d_r50", "plain"), Entry("i3d_r50_nl5", "non-local")]
    assert found.settings["clip"] == "32x224"
    assert found.train is not None
    assert found.train["recipe"] == {"learning_rate": 0.01, "optimizer": "adamw"}
    assert found.train["seeds"] == (5,)


def test_a_sweep_wins_over_its_base_and_a_scale_over_both(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("""
views: 1x1
train: {epochs: 4, pretrained: a.ckpt, recipe: {warmup: 0.1, learning_rate: 1e-2}}
scales:
  large: {views: 10x3, train: {epochs: 8, frames: 16, recipe: {learning_rate: 0.5}}}
  huge: {views: 2x3}
""")
    path = tmp_path / "sweep.yaml"
    path.write_text("""
base: base.yaml
entries: {plain: tiny_i3d}
train: {epochs: 5, frames: 8, recipe: {warmup: 0.2}}
scales: {large: {train: {frames: 32, pretrained: null}}}
""")
    found = read_sweep(path)
    assert found.settings == {"views": "1x1"}
    recipe = {"warmup": 0.2, "learning_rate": 0.01}
    assert found.train == {"epochs": 5, "frames": 8, "pretrained": "a.ckpt", "recipe": recipe}
    found = read_sweep(path, scale="large")
    assert found.settings == {"views": "10x3"}
    assert found.train == {"epochs": 8, "frames": 32, "recipe": {**recipe, "learning_rate": 0.5}}
    with pytest.raises(VideoNLError, match=r"no scale 'huge'; it has large"):
        read_sweep(path, scale="huge")


@pytest.mark.parametrize(
    "name", ["../base.yaml", "/etc/passwd", "..", ".", "''", "none.yaml", "[a]", "3", '"a\\0b"']
)
def test_a_base_is_a_file_of_the_sweeps_own_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "base.yaml").write_text("views: 1x1")
    path = tmp_path / "sweeps" / "sweep.yaml"
    path.parent.mkdir()
    path.write_text(f"entries: {{a: tiny_i3d}}\nbase: {name}")
    with pytest.raises(VideoNLError, match=r"sweep\.yaml: base must name a file in the same"):
        read_sweep(path)


def test_a_base_has_no_base_and_is_named_where_it_is_wrong(sweep: Path) -> None:
    base = sweep.with_name("base.yaml")
    sweep.write_text(f"base: {base.name}\n{TEXT}", encoding="utf-8")
    for text, words in (
        ("base: sweep.yaml", "base.yaml: 'base' is unknown"),
        ("trian: {}", "base.yaml: 'trian' is unknown; did you mean train"),
        ("scales: {large: 3}", "base.yaml: scales: large must be a table"),
        ("scales: {large: {veiws: 1x1}}", "base.yaml: scales: large: 'veiws' is unknown"),
        ("train: {epoch: 3}", "base.yaml: train: 'epoch' is unknown; did you mean epochs"),
        ("scales: {large: {split: 3}}", "base.yaml: scales: large: split must be text"),
        ("!!python/object/apply:os.getcwd []", "base.yaml is not YAML"),
    ):
        base.write_text(text)
        with pytest.raises(VideoNLError, match=words):
            read_sweep(sweep)


def test_flags_win_over_the_file(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the plan says; what neither names is not chosen, for the file speaks for the rest."""
    data = write_small_data(tmp_path / "data", train=2, val=1)
    content = yaml.safe_load(TEXT)
    del content["entries"]["non-local"], content["entries"]["trained"]
    sweep.write_text(yaml.safe_dump(content), encoding="utf-8")
    argv = ["compare", "more=tiny_c2d", "--sweep", str(sweep), "--data", str(data), "--dry-run"]
    argv += ["--clip", "4x32", "--epochs", "9", "--seeds", "2", "--learning-rate", "0.2"]
    argv += ["--data.num_workers", "0", "--device", "cpu", "--recipe.schedule", "step"]
    assert main(argv) == 0
    said = capsys.readouterr().out
    for words in (
        "network   tiny_i3d,",
        "network   tiny_c2d,",
        "clips of 4 frames",
        "of 32×32",
        "rate      0.0125 = 0.2 × 4/64",
        "adamw, step",
        "9 epochs",
        "4 trainings (2 networks x 2 seeds)",
    ):
        assert words in said, words
    assert "chosen" not in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("entries: {}", "has no entries"),
        ("entires: {a: b}", "did you mean entries"),
        ("entries: {a: {modle: b}}", "did you mean model"),
        ("entries: {a: {options: {}}}", "needs a model or a checkpoint"),
        ("entries: {a: b}\ntrain: {epoch: 3}", "did you mean epochs"),
        ("- a", "must be a table"),
        ("entries: {a: b}\nentries: {c: d}", "line 2: the key 'entries' is given twice"),
        ("entries: {a: b, a: c}", "line 1: the key 'a' is given twice"),
        ("a: [", "is not YAML"),
        ("!!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(VideoNLError, match=words) as caught:
        read_sweep(path)
    assert "\n" not in str(caught.value)


def test_missing_file_and_scale(sweep: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoNLError, match="cannot be read"):
        read_sweep(tmp_path / "none.yaml")
    with pytest.raises(VideoNLError, match=r"no scale 'huge'; it has large"):
        read_sweep(sweep, scale="huge")
    file = tmp_path / "years.yaml"  # YAML reads a number, and a name it is
    file.write_text("entries: {a: tiny_i3d}\nscales: {2024: {views: 2x1}, 2025: {views: 3x1}}\n")
    assert read_sweep(file, scale="2025").settings == {"views": "3x1"}
    with pytest.raises(VideoNLError, match="no scale 'huge'; it has 2024, 2025"):
        read_sweep(file, scale="huge")


def test_an_entry_names_the_weights_that_it_starts_from(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("entries: {a: {model: tiny_i3d, pretrained: a.ckpt}, b: tiny_c2d}\ntrain: {}\n")
    assert [entry.pretrained for entry in read_sweep(file).entries] == ["a.ckpt", None]
    file.write_text("entries: {a: {checkpoint: b.ckpt, pretrained: a.ckpt}}\n")
    with pytest.raises(VideoNLError, match="a: pretrained names the weights that the training"):
        read_sweep(file)
