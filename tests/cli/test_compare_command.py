import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_data import write_small_data
from videonl.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--clip", "4x24", "--device", "cpu"]


@pytest.mark.slow  # test_main_command asks every command
def test_help_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from videonl.cli.main import main\n"
        "try: main(['compare', '--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--views" in done.stdout


def test_table_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert (
        main(["compare", "tiny_i3d", "tiny_i3d_nl1", *SMALL, "--rounds", "1", "--out", str(out)])
        == 0
    )
    printed = capsys.readouterr()
    for word in ("tiny_i3d_nl1", "GFLOPs/view", "clips/s", "peak (MB)", "4x24x24"):
        assert word in printed.out
    assert {"compare.json", "compare.csv", "compare.md", "compare.png"} <= {
        path.name for path in out.iterdir()
    }
    assert str(out) in printed.err


def test_a_failing_entry_gives_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "tiny_i3d", "tiny_i3d_n1", *SMALL, "--no-speed"]) == 1
    out, err = capsys.readouterr()
    assert "did you mean" not in out, "told once, as an error"
    assert err.count("did you mean") == 1
    assert "videonl compare: tiny_i3d_n1 failed: there is no network" in err
    assert "0.20" in out, "the other entry is in the table"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tiny_i3d", "--data", "nowhere"], "nowhere does not exist"),
        (["tiny_i3d", "--device", "warp"], "device 'warp'"),
        (["tiny_i3d", "--out", __file__], "is a file"),
        ([], "nothing to compare"),
        (["tiny_i3d", "--scale", "large"], "--scale chooses a scale of a sweep file"),
        (["--sweep", "none.yaml"], "none.yaml cannot be read"),
        (["tiny_i3d", "--train"], "--data"),
        (["tiny_i3d", "--seeds", "5"], "--seeds is for trainings; add --train"),
        (["tiny_i3d", "--data.stride=2"], "--data.stride is for trainings; add --train"),
        (["tiny_i3d", "--split", "test"], "--split is a split of --data"),
        (["tiny_i3d", "--no-speed", "--rounds", "9"], "--rounds and --no-speed exclude each other"),
    ],
)
def test_bad_usage_is_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["compare", *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("clip", ["8", "8x", "0x224", "8x224x224"])
def test_wrong_clip(capsys: pytest.CaptureFixture[str], clip: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["compare", "tiny_i3d", "--clip", clip])
    assert stop.value.code == 2
    assert "FRAMESxSIZE" in capsys.readouterr().err


def test_sweep_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("entries: {narrow: {model: tiny_i3d, options: {width: 4}}}\nclip: 4x24\n")
    assert main(["compare", "--sweep", str(path), "wide=tiny_i3d", "--no-speed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("narrow")
    assert lines[3].startswith("wide")
    assert "4x24x24" in lines[2]


def test_a_training_stopped_by_a_signal_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from videonl.training import TrainingStopped

    def stopped(*args: object, **options: object) -> None:
        raise TrainingStopped("stopped; run the same command again to continue", signum=2)

    monkeypatch.setattr("videonl.evaluation.compare.compare_models", stopped)
    assert main(["compare", "tiny_i3d", "--no-speed"]) == 130
    assert (
        capsys.readouterr().err
        == "videonl compare: stopped; run the same command again to continue\n"
    )


def test_every_name_is_checked_before_the_first_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A misspelled row must not be found after the others were trained."""
    monkeypatch.setattr("videonl.training.fit", lambda *_, **__: pytest.fail("a training started"))
    write_small_data(tmp_path / "data", train=1, val=1)
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    argv = ["--train", "--data", str(tmp_path / "data"), "--no-speed"]
    argv += ["--out", str(tmp_path / "out"), "--data.num_workers", "0", "--device", "cpu"]
    argv += ["--model.options.width", "4"]
    for words, reason in (
        (["tiny_i3dd"], "'tiny_i3dd'; did you mean tiny_i3d"),
        ([str(tmp_path / "none.ckpt")], "none.ckpt is neither a file nor"),
        (["official/i3d_nl_32x"], "did you mean official/i3d_nl_32x"),
        ([str(tmp_path / "text.ckpt")], "text.ckpt"),
        (["--model.options.widht", "4"], "no option 'widht'; did you mean width?"),
        (["--model.pretrained", "none.pth"], "none.pth is neither a file nor"),
    ):
        for more in ([], ["--dry-run"]):
            assert main(["compare", "tiny_i3d", *words, *argv, *more]) == 2, words
            said = capsys.readouterr().err
            assert reason in said
            assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
