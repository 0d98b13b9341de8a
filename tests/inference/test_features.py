"""Features of layers over windows, against the network called by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.inference.networks import PREPROCESSING, write_checkpoint
from tests.videos import write_video
from videonl import Predictor
from videonl.errors import VideoNLError
from videonl.inference import FeatureExtractor, Features, Windows, load_features, save_features
from videonl.video import open_video, to_clips

WINDOWS = Windows(window=8, stride=4, frames=4)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    write_checkpoint(folder, name="tiny_i3d_nl1")
    write_video(folder / "v.mp4", 30)
    return folder


@pytest.fixture(scope="module")
def predictor(place: Path) -> Predictor:
    return Predictor.from_checkpoint(place / "model.safetensors", device="cpu", fuse=False)


def clip_by_hand(place: Path, start: int) -> torch.Tensor:
    with open_video(place / "v.mp4") as video:
        frames = video.read(list(range(start, start + 8, 2)), short_side=24)
    mean, std = PREPROCESSING["mean"], PREPROCESSING["std"]
    return to_clips(frames[:, 4:20, 4:20][None], mean=mean, std=std)  # type: ignore[arg-type]


def test_pool_is_what_the_classifier_sees(place: Path, predictor: Predictor) -> None:
    found = FeatureExtractor(predictor, windows=WINDOWS).extract(place / "v.mp4")
    assert found.values.dtype == np.float32
    assert found.start == pytest.approx(np.array([0, 4, 8, 12, 16, 20, 22]) / 25)
    assert found.end == pytest.approx(found.start + 8 / 25)
    clip = clip_by_hand(place, 8)
    with torch.no_grad():
        expected = predictor.model.forward_features(clip).mean((2, 3, 4))[0]  # type: ignore[operator]
        logits = predictor.model(clip)[0]
        projection = predictor.model.head.projection  # type: ignore[union-attr]
        from_row = projection(torch.from_numpy(found.values[2]))  # type: ignore[operator]
    np.testing.assert_allclose(found.values[2], expected.numpy(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(from_row, logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer", ["stem", "res2", "res3.0.conv_b", "head.dropout", "head.projection"]
)
def test_any_named_layer(place: Path, predictor: Predictor, layer: str) -> None:
    seen: list[torch.Tensor] = []
    module = predictor.model.get_submodule(layer)
    with torch.no_grad():
        handle = module.register_forward_hook(lambda *given: seen.append(given[2].clone()))
        predictor.model(clip_by_hand(place, 4))
        handle.remove()
    last = layer.startswith("head")  # (B, 1, 1, 1, K)
    expected = seen[0].flatten(1, 3).mean(1) if last else seen[0].mean((2, 3, 4))
    found = FeatureExtractor(predictor, layer=layer, windows=WINDOWS).extract(place / "v.mp4")
    np.testing.assert_allclose(found.values[1], expected[0].numpy(), rtol=1e-4, atol=1e-5)
    assert not module._forward_hooks, "nothing stays behind"


def test_how_many_windows_run_at_once_changes_nothing(place: Path, predictor: Predictor) -> None:
    one = Predictor.from_checkpoint(
        place / "model.safetensors", device="cpu", max_views_per_forward=1, fuse=False
    )
    many = FeatureExtractor(predictor, windows=WINDOWS).extract(place / "v.mp4")
    alone = FeatureExtractor(one, windows=WINDOWS).extract(place / "v.mp4")
    np.testing.assert_allclose(many.values, alone.values, rtol=1e-5, atol=1e-6)


def test_an_unknown_layer_is_named_with_near_ones(predictor: Predictor) -> None:
    with pytest.raises(VideoNLError, match=r"did you mean .*res3"):
        FeatureExtractor(predictor, layer="res3.9", windows=WINDOWS)
    with pytest.raises(VideoNLError, match="it has pool, stem"):
        FeatureExtractor(predictor, layer="zzzz", windows=WINDOWS)


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = Features(np.ones((2, 3), np.float32), np.zeros(2), np.ones(2))
    path = tmp_path / "a/v.mp4.npz"
    save_features(path, features, about={"layer": "pool"}, video="v.mp4")
    loaded, about = load_features(path)
    assert about == {"layer": "pool"}
    np.testing.assert_array_equal(loaded.values, features.values)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(VideoNLError, match="No space left"):
        save_features(path, features, about={}, video="v.mp4")
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["v.mp4.npz"]
    path.write_text("text")
    with pytest.raises(VideoNLError, match="was not written by videonl extract"):
        load_features(path)


def written(path: Path, **arrays: object) -> None:
    usual = dict.fromkeys(("features", "start", "end"), np.zeros(99))
    np.savez_compressed(path, **usual | arrays)


def damaged(path: Path) -> None:
    written(path, about=np.array("{}"), start=np.random.default_rng(0).random(99))
    data = bytearray(path.read_bytes())
    data[300:400] = b"\xff" * 100
    path.write_bytes(data)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: np.save(path.open("wb"), np.zeros(3)),
        lambda path: written(path, about=np.array("[]")),
        lambda path: written(path, about=np.array("[" * 100_000)),
        damaged,
    ],
)
def test_files_of_others_are_refused(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "v.npz")
    with pytest.raises(VideoNLError, match="was not written by videonl extract"):
        load_features(tmp_path / "v.npz")
