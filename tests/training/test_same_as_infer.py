"""``train.py test`` and ``infer.py``: the same numbers for the same views, and bounded memory."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.small_data import DATA
from videonl.data import VideoDataModule
from videonl.inference import Predictor
from videonl.training import FitResult, VideoClassifier
from videonl.video import to_clips as shown_clips

Once = tuple[VideoClassifier, FitResult]


def test_infer_gives_the_numbers_of_test_for_the_same_views(once: Once, small_data: Path) -> None:
    _, fitted = once
    network = VideoClassifier.from_checkpoint(fitted.best, views_per_forward=6).eval()
    data = VideoDataModule(str(small_data), **{**DATA, "batch_size": 1})
    data.setup("predict")
    network.set_preprocessing(data.preprocessing)
    exact = Predictor.from_checkpoint(
        fitted.best, device="cpu", max_views_per_forward=6, fuse=False
    )
    fused = Predictor.from_checkpoint(fitted.best, device="cpu", max_views_per_forward=6)
    batches = list(data.evaluation_loader("test", (2, 3)))
    assert len(batches) == 4
    for batch in batches:
        with torch.no_grad():
            tested = network.predict_step(batch, 0)["probabilities"][0]
        path = data.records["test"][int(batch["index"][0])].path
        for predictor, tolerance in ((exact, 0.0), (fused, 1e-6)):
            found = predictor.predict(path, views=(2, 3))
            shown = dict(zip(found.classes, found.probabilities, strict=True))
            for index, name in enumerate(network.class_names or []):
                assert shown[name] == pytest.approx(float(tested[index]), abs=tolerance, rel=0)


def test_views_become_floats_chunk_by_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = VideoClassifier(
        "tiny_i3d", num_classes=2, options={"width": 8}, views_per_forward=4
    ).eval()
    sizes: list[int] = []
    original = shown_clips

    def to_clips(video: torch.Tensor, **pixels: Any) -> torch.Tensor:
        sizes.append(len(video))
        return original(video, **pixels)

    monkeypatch.setattr("videonl.training.classifier.to_clips", to_clips)
    video = torch.randint(0, 255, (1, 30, 4, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        network.predict_step({"video": video, "index": torch.tensor([0])}, 0)
    assert sizes == [4] * 7 + [2]
