"""A full GPU: the sentence names a batch that fits and stages to compute again (simulated)."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main
from videonl.training import VideoClassifier

FULL = ["--data.batch_size", "8", "--trainer.accumulate_grad_batches", "2"]


@pytest.mark.slow
def test_the_sentence_says_what_would_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(VideoClassifier, "forward", full)
    data = write_small_data(tmp_path / "data")
    fit = ["train", "fit", "--data.root", str(data), "--out", str(tmp_path / "runs"), *FLAGS, *FULL]
    fit += ["--trainer.accelerator", "cpu", "--model.name", "tiny_i3d"]

    def said(memory: int | None, *more: str) -> str:
        monkeypatch.setattr("videonl.training.memory.usable_memory", lambda _: memory)
        assert main([*fit, *more]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "halve --data.batch_size" in said(None)
    assert "--trainer.accumulate_grad_batches 4 for the same" in said(None)
    weights = 4 * sum(
        4 * p.numel() for p in VideoClassifier("tiny_i3d", num_classes=2).parameters()
    )
    first = said(10 * 2**30)
    each = float(re.findall(r"about ([\d.]+) GiB per clip", first)[0]) * 2**30
    # Room for six clips of eight: four fit, or all with some stages computed again.
    text = said(int((weights + 6.5 * each) / 0.8))
    assert "--data.batch_size 4 --trainer.accumulate_grad_batches 4 should fit" in text
    assert re.search(r"or --recipe.checkpoint_stages \[res2[\w,]*\] should fit", text)
    stages = ["--recipe.checkpoint_stages", "[res2,res3,res4]"]
    fewer = float(re.findall(r"about ([\d.]+) GiB per clip", said(10 * 2**30, *stages))[0]) * 2**30
    assert fewer < each
    assert "use smaller or shorter clips" in said(int(weights))
