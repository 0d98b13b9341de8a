"""A training keeps the frame rate of its videos, and says where they differ."""

from pathlib import Path

import pytest

from tests.small_data import FLAGS, write_small_data
from tests.videos import write_video
from videonl.cli.main import main
from videonl.data import VideoDataModule
from videonl.weights import load_checkpoint

Shown = pytest.CaptureFixture[str]
SHAPE = {"frames": 4, "stride": 2, "short_side": 36, "crop": 32, "num_workers": 0}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Most videos have 25 frames per second, as ``write_video`` makes them; two have others."""
    root = write_small_data(tmp_path_factory.mktemp("data"), train=3, val=1)
    write_video(root / "train" / "dark" / "fast.mp4", 40, fps=50)
    write_video(root / "train" / "light" / "ntsc.mp4", 40, fps=24)
    write_video(root / "val" / "light" / "fast.mp4", 40, fps=50)
    (root / "train" / "light" / "text.mp4").write_text("no video", encoding="utf-8")
    return root


def test_the_checkpoint_keeps_it(root: Path, tmp_path: Path, capsys: Shown) -> None:
    words = ["--data.root", str(root), *FLAGS, "--trainer.accelerator", "cpu"]
    fit = ["train", "fit", "--model.name", "tiny_c2d", "--model.options.width", "8", *words]
    assert main([*fit, "--out", str(tmp_path), "--name", "x", "--trainer.max_epochs", "1"]) == 0
    shown = capsys.readouterr().out
    line = "videos    25 frames per second in training; of 8 videos looked at 1 at 50: clips of"
    assert line in shown
    (run,) = (tmp_path / "x").iterdir()
    assert load_checkpoint(run / "last.ckpt").preprocessing["rate"] == 25
    test = ["train", "test", "--checkpoint", str(run), "--data.root", str(root), "--split", "val"]
    test += ["--data.num_workers", "0", "--trainer.accelerator", "cpu"]
    assert main(test) == 0
    assert "note      25 frames per second in training; of 3 videos looked at 1 at 50" in (
        capsys.readouterr().out
    )
    assert main([*test, "--data.fps", "keep"]) == 0
    shown = capsys.readouterr().out
    assert "looked at" not in shown
    assert "by the network's own protocol" in shown


def test_training_and_validation_count_alike(root: Path) -> None:
    data = VideoDataModule(str(root), **SHAPE)
    data.setup("fit")
    assert data.preprocessing.rate == 25
    (number,) = (i for i, r in enumerate(data.records["val"]) if "fast" in str(r.path))
    by_time = list(data.evaluation_loader("val"))
    kept = VideoDataModule(str(root), **SHAPE, fps="keep")
    kept.setup("fit")
    assert (kept.preprocessing.rate, kept.preprocessing.fps) == (None, None)
    by_frame = list(kept.evaluation_loader("val"))
    video = {i: v for b in by_time for i, v in zip(b["index"].tolist(), b["video"], strict=True)}
    other = {i: v for b in by_frame for i, v in zip(b["index"].tolist(), b["video"], strict=True)}
    assert [i for i in video if not video[i].equal(other[i])] == [number]
    by_rate = VideoDataModule(str(root), **SHAPE, fps=12.5)
    by_rate.setup("fit")
    assert (by_rate.preprocessing.rate, by_rate.preprocessing.fps) == (None, 12.5)
