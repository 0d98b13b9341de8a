"""Frames spread over a video and whole pictures: one view in fit and everything that answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.marks import mostly_slow
from tests.serve.serving import serving
from tests.videos import write_video
from videonl import Predictor, VideoDataModule, count_cost
from videonl.attention import attend
from videonl.cli.main import main
from videonl.errors import DatasetError
from videonl.inference import export_model, load_features, timeline_of
from videonl.video import Preprocessing, open_video, to_clips

CPU = ["--trainer.accelerator", "cpu", "--data.num_workers", "0"]
FIT = [*CPU, "--model.name", "tiny_i3d_nl1", "--model.options.width", "8", "--data.frames", "4"]
FIT += ["--data.crop", "32", "--data.batch_size", "2", "--recipe.learning_rate", "0.0001"]
CLIPS = ["--data.sampling", "segments", "--data.picture", "whole"]
Shown = pytest.CaptureFixture[str]


def write_data(root: Path) -> Path:
    """Wide pictures of many lengths and rates; of val/ one is nearly square and one stands."""
    random = np.random.default_rng(0)
    sizes = {"train": [(36, 72)] * 3, "val": [(36, 72), (40, 48), (60, 40)]}
    for split, shapes in sizes.items():
        for place, name in enumerate(("dark", "light")):
            for index, shape in enumerate(shapes):
                length = (3, 10, 21)[index] + place
                noise = random.normal(70 + 110 * place, 30, (length, *shape, 3))
                frames = np.clip(noise, 0, 255).astype(np.uint8)
                write_video(root / split / name / f"{index}.mp4", frames, fps=(25, 10, 50)[index])
    odd = root / "val" / "light" / "odd.mp4"
    odd.write_bytes((root / "val" / "dark" / "0.mp4").read_bytes())
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that asks for three crops in its validation, which are one."""
    out = tmp_path_factory.mktemp("runs")
    words = ["train", "fit", "--data.root", str(root), *FIT, *CLIPS, "--data.val_views", "2x3"]
    assert main([*words, "--trainer.max_epochs", "2", "--out", str(out), "--name", "x"]) == 0
    return next((out / "x").iterdir())


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return Predictor.from_checkpoint(run / "best.ckpt", device="cpu", fuse=False)


def best_of(run: Path) -> dict[str, Any]:
    """What the training itself measured for its best checkpoint."""
    content = torch.load(run / "best.ckpt", weights_only=True)
    (best,) = [v["best"] for k, v in content["callbacks"].items() if k.startswith("Summary")]
    return best


@pytest.mark.parametrize("command", mostly_slow(["validate", "test"], quick=["test"]))
def test_fit_and_test_agree(
    command: str, run: Path, root: Path, predictor: Predictor, tmp_path: Path
) -> None:
    content, best = torch.load(run / "best.ckpt", weights_only=True), best_of(run)
    shown = predictor.preprocessing
    assert (shown.sampling, shown.picture, shown.rectangle) == ("segments", "whole", (24, 48))
    assert (shown.views, shown.shown_views) == ((2, 1), "2x1 of 4x24x48")
    assert shown.duration == pytest.approx(21 / 50)  # 3 or 4 at 25, 10 or 11 at 10, 21 or 22 at 50
    assert "2x1 of 4x24x48" in (run / "summary.md").read_text(encoding="utf-8")

    file = tmp_path / "test.json"
    words = ["--checkpoint", str(run), "--data.root", str(root), *CPU, "--split", "val"]
    assert main(["train", command, *words, "--json", str(file)]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["scores"]["video_top1"] == best["top1"]
    # Processors may round batches of another size otherwise: float32.
    assert found["scores"]["loss"] == pytest.approx(best["loss"], rel=1e-7)
    assert (found["protocol"]["views"], found["protocol"]["rectangle"]) == ("2x1", [24, 48])
    assert "stride" not in found["protocol"]
    assert found["cost"]["clip_shape"] == [3, 4, 24, 48]
    options = content["hyper_parameters"]["options"]
    macs = count_cost("tiny_i3d_nl1", (3, 4, 24, 48), num_classes=2, options=options).macs
    assert found["cost"]["gmacs"] == pytest.approx(2 * macs / 1e9)


@pytest.mark.slow
def test_three_crops_and_a_table_agree_too(
    run: Path, root: Path, tmp_path: Path, capsys: Shown
) -> None:
    best, file = best_of(run), tmp_path / "test.json"
    words = ["--checkpoint", str(run), "--data.root", str(root), *CPU, "--split", "val"]
    again = ["--data.views", "2x3", "--config", str(run / "config.yaml")]
    assert main(["train", "test", *words, *again, "--json", str(file)]) == 0
    assert "three crops are the same view: 2x1" in capsys.readouterr().out
    assert json.loads(file.read_text(encoding="utf-8"))["scores"]["loss"] == pytest.approx(
        best["loss"], rel=1e-7
    )
    words = ["--data", str(root), "--split", "val", "--no-speed", "--out", str(tmp_path / "table")]
    assert main(["compare", str(run / "best.ckpt"), *words]) == 0
    (row,) = json.loads((tmp_path / "table" / "compare.json").read_text("utf-8"))["rows"]
    assert (row["top1"]["value"], row["input"]) == (best["top1"], "4x24x48")


def test_fit_and_infer_agree(run: Path, root: Path, predictor: Predictor, tmp_path: Path) -> None:
    best, shown, file = best_of(run), predictor.preprocessing, tmp_path / "infer.json"
    assert main(["predict", str(root / "val"), "--checkpoint", str(run), "--json", str(file)]) == 0
    entries = json.loads(file.read_text(encoding="utf-8"))["predictions"]
    right = [e["classes"][0]["class"] == Path(e["path"]).parent.name for e in entries]
    assert sum(right) / len(right) == best["top1"]
    data = VideoDataModule(str(root), preprocessing=shown, num_workers=0)
    data.setup("validate")
    for batch in data.val_dataloader():
        for path, video in zip(batch["path"], batch["video"], strict=True):
            assert torch.equal(video, predictor.read(path).frames)


def test_padding_is_the_mean_in_training_and_test(predictor: Predictor, root: Path) -> None:
    """Data that say no mean take that of their network, whoever trains."""
    path = root / "val" / "dark" / "1.mp4"
    view = predictor.read(path).frames[0]  # 40x48 scaled to 24x29
    mean = torch.tensor(predictor.preprocessing.padding, dtype=torch.uint8)
    assert mean.tolist() == [round(255 * m) for m in predictor.preprocessing.colours[0]]
    assert bool((view[:, :, :9] == mean).all())
    assert bool((view[:, :, 38:] == mean).all())
    with open_video(path) as video:
        scaled = video.read([1, 3, 6, 8], inside=(24, 48))
    assert tuple(scaled.shape) == (4, 24, 29, 3)
    middle = predictor.read(path, views=(1, 1))
    assert middle.indices == [[1, 3, 6, 8]]
    assert torch.equal(middle.frames[0, :, :, 9:38], scaled)

    data = VideoDataModule(
        str(root), frames=4, crop=32, short_side=36, picture="whole", num_workers=0, batch_size=6
    )
    data.setup("fit")
    assert data.preprocessing.rectangle == (24, 48)
    assert data.preprocessing.mean is None
    for entries, said in (
        ({"sampling": "sparse"}, "sampling is sparse; it must be one of dense, segments"),
        ({"sampling": "segments", "stride": 2}, "stride=2 does not apply to sampling=segments"),
        ({"picture": "whole", "resized_crop": (0.1, 1.0)}, "leave one of them out"),
    ):
        with pytest.raises(DatasetError, match=said):
            VideoDataModule(str(root), **entries)
    with pytest.raises(ValueError, match="lacks mean"):
        next(iter(data.train_dataloader()))
    data.preprocessing = data.preprocessing.with_colours(predictor.preprocessing)
    (batch,) = data.train_dataloader()
    assert tuple(batch["video"].shape) == (6, 1, 4, 24, 48, 3)
    corners = batch["video"][:, 0, 0, 0, 0]  # some pictures are smaller than their rectangle
    padded = (corners == mean).all(dim=1)
    assert 0 < int(padded.sum()) < 6


def test_a_windows_frames_are_spread_over_it(
    predictor: Predictor, root: Path, capsys: Shown
) -> None:
    path = root / "train" / "light" / "2.mp4"  # 22 frames, 50 a second
    found = timeline_of(predictor, path, window=0.2, hop=0.1)
    with open_video(path) as video:
        times = video.times()
    assert [w.last - w.first for w in found.windows] == [10, 10, 10, 10]
    shown = predictor.preprocessing.with_views((1, 1))
    assert found.windows[1].indices(times, shown) == [5 + k for k in (1, 3, 6, 8)]
    assert timeline_of(predictor, path).about["protocol"]["window_seconds"] == shown.duration
    unknown = Predictor(
        predictor.model,
        class_names=predictor.class_names,
        preprocessing=shown.changed(duration=None),
        device="cpu",
        fuse=False,
    )
    whole = timeline_of(unknown, path)
    assert len(whole.windows) == 1
    answer = predictor.predict(path, views=(1, 1))
    assert whole.top(0, 2) == list(zip(answer.classes, answer.probabilities, strict=True))


def test_features_of_the_whole_video(
    predictor: Predictor, run: Path, root: Path, tmp_path: Path, capsys: Shown
) -> None:
    path = root / "val" / "light" / "2.mp4"
    words = ["extract", str(path), "--checkpoint", str(run), "--out", str(tmp_path), "--device"]
    assert main([*words, "cpu", "--stride", "2"]) == 2
    assert "give --window too" in capsys.readouterr().err
    assert main([*words, "cpu"]) == 0
    (file,) = tmp_path.iterdir()
    features, about = load_features(file)
    assert (about["window"], features.start.tolist(), features.end.tolist()) == (None, [0], [0.44])
    clip = predictor.read(path, views=(1, 1)).frames
    mean, std = predictor.preprocessing.colours
    with torch.inference_mode():
        maps = predictor.model.forward_features(to_clips(clip, mean=mean, std=std))
    expected = maps.flatten(2).mean(2).numpy()
    np.testing.assert_allclose(features.values, expected, rtol=1e-4, atol=1e-5)


def test_attention_lies_in_the_picture(
    predictor: Predictor, root: Path, run: Path, capsys: Shown
) -> None:
    path = root / "val" / "dark" / "2.mp4"  # 60x40, scaled to 24x16 in 24x48
    found = attend(predictor, path)
    assert tuple(found.clip.view.shape) == (4, 24, 48, 3)
    assert (found.clip.corner, found.clip.region) == ((0, -16), (0, 0, 60, 40))
    assert found.clip.to_file(0, 16) == (0.75, 0.75)
    assert found.clip.to_view(*found.clip.to_file(5, 20)) == pytest.approx((5, 20))
    assert list(found.clip.indices) == [2, 7, 13, 18]
    words = ["attend", str(path), "--checkpoint", str(run), "--device", "cpu", "--crop", "first"]
    assert main(words) != 0
    assert "shown whole pictures" in capsys.readouterr().err


@pytest.mark.slow
def test_exported_files_say_the_rectangle(predictor: Predictor, tmp_path: Path) -> None:
    made = export_model(predictor, tmp_path / "m.pt2", format="torch-export")
    assert made.clip == (4, 24, 48)
    extra = {"videonl.json": ""}
    torch.export.load(made.path, extra_files=extra)
    about = json.loads(extra["videonl.json"])
    shown = Preprocessing.from_dict(json.loads(about["preprocessing"]))
    assert shown == predictor.preprocessing
    assert (json.loads(about["input"])["height"], json.loads(about["input"])["width"]) == (24, 48)


@pytest.mark.slow
def test_the_server_shows_the_same(run: Path, root: Path) -> None:
    path = root / "val" / "light" / "1.mp4"
    expected = Predictor.from_checkpoint(run / "best.ckpt", device="cpu").predict(path).as_dict()
    with serving(run / "best.ckpt") as server:
        assert server.ask("GET", "/model")[1]["protocol"] == expected["protocol"]
        for wish in ("", "?views=2x3"):
            status, answer, _ = server.post(f"/predict{wish}", path.read_bytes())
            assert status == 200
            assert (answer["classes"], answer["views"]) == (expected["classes"], expected["views"])


@pytest.mark.slow
def test_what_does_not_go_together_is_one_sentence(
    run: Path, root: Path, tmp_path: Path, capsys: Shown
) -> None:
    fit = ["train", "fit", "--data.root", str(root), *FIT, "--out", str(tmp_path), *CLIPS]
    own = ["--checkpoint", str(run)]
    test = ["train", "test", *own, "--data.root", str(root), *CPU]
    video = str(root / "val" / "dark" / "0.mp4")
    spread, whole = "spread over the whole video", "whole pictures are shown"
    for words, said in (
        ([*fit, "--data.stride", "2"], spread),
        ([*fit, "--data.fps", "12"], spread),
        ([*fit, "--data.fps", "keep"], spread),
        ([*fit, "--data.resized_crop", "[0.1, 1.0]"], "picture=whole shows all of it"),
        ([*fit, "--data.test_crop", "20"], whole),
        ([*fit, "--data.picture", "crop", "--data.rectangle", "[24, 48]"], "squares are shown"),
        ([*fit, "--data.rectangle", "[0, 48]"], "height and width"),
        ([*fit, "--data.sampling", "sparse"], "sampling"),
        ([*test, "--data.stride", "2"], spread),
        ([*test, "--data.fps", "12"], spread),
        ([*test, "--data.crop", "64"], "set rectangle"),
        (["predict", video, *own, "--fps", "12"], spread),
        (["predict", video, *own, "--option", "stride=3"], spread),
    ):
        assert main(words) != 0, words
        error = capsys.readouterr().err
        assert said in error, (words, error)
        assert "Traceback" not in error
    assert main(["predict", video, *own, "--option", "sampling=dense", "--option", "stride=1"]) == 0
    assert main(["predict", video, *own, "--option", "rectangle=[32,32]"]) == 0
