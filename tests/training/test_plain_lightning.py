"""Lightning's own Trainer, without videonl's commands; a network and a loss of one's own."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from tests.small_data import DATA
from videonl import Predictor, VideoClassifier, VideoDataModule
from videonl.errors import VideoNLError
from videonl.training import fit

QUIET: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False, "max_epochs": 2}
QUIET |= {"logger": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
SHOWN = {"frames": 4, "stride": 2, "short_side": 36, "crop": 32}


class Mean(nn.Module):
    """A network as anybody writes one: (B, 3, T, H, W) -> (B, K)."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(3, 4, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
            nn.Linear(4, classes),
        )

    def forward(self, clips: Tensor) -> Tensor:
        if not clips.isfinite().all().item():  # a look at values: no shape alone goes through
            raise ValueError("clips that are not finite")
        return self.layers(clips)


def test_three_lines(small_data: Path, tmp_path: Path) -> None:
    data = VideoDataModule(str(small_data), **DATA)
    model = VideoClassifier("tiny_i3d_nl1", num_classes=2, options={"width": 8})
    trainer = L.Trainer(**{**QUIET, "default_root_dir": str(tmp_path)})
    trainer.fit(model, data)
    (scores,) = trainer.test(model, data, verbose=False)
    assert 0 <= scores["test/top1"] <= 1
    # Lightning's own checkpoint is one of ours: it knows classes and clips.
    (file,) = (tmp_path / "checkpoints").glob("*.ckpt")
    again = VideoClassifier.load_from_checkpoint(file)
    assert again.class_names == ["dark", "light"]
    assert again.preprocessing.frames == 4
    assert torch.equal(again.net.state_dict()["stem.conv.weight"], model.net.stem.conv.weight)
    answer = Predictor.from_checkpoint(file).predict(small_data / "test" / "dark" / "0.mp4")
    assert set(answer.classes) == {"dark", "light"}
    trainer = L.Trainer(**{**QUIET, "max_epochs": 3, "default_root_dir": str(tmp_path)})
    trainer.fit(model, data, ckpt_path=file, weights_only=True)
    assert trainer.global_step == 3 * 4


def test_the_recipe_and_the_split_of_a_training_are_kept(small_data: Path, tmp_path: Path) -> None:
    lists = {}
    for split in ("train", "val", "test"):
        lists[f"{split}_list"] = str(tmp_path / f"{split}.csv")
        rows = (f"{split}/{name}/0.mp4,{name}\n" for name in ("dark", "light"))
        Path(lists[f"{split}_list"]).write_text("".join(rows), encoding="utf-8")
    data = VideoDataModule(str(small_data), **lists, **DATA)
    data.setup("fit")
    recipe = {"ema": 0.5, "class_weights": "balanced", "optimizer": "adamw"}
    model = VideoClassifier("tiny_i3d_nl1", num_classes=2, options={"width": 8}, recipe=recipe)
    trainer = L.Trainer(**{**QUIET, "max_epochs": 1, "default_root_dir": str(tmp_path)})
    with pytest.raises(VideoNLError, match="give the Trainer a VideoDataModule"):
        trainer.fit(model, data.train_dataloader())
    trainer.fit(model, data)
    assert model.class_weights is not None
    (file,) = (tmp_path / "checkpoints").glob("*.ckpt")
    content = torch.load(file, weights_only=True)
    key, about = "net.stem.conv.weight", content["hyper_parameters"]
    average = content["state_dict"][key]
    assert not torch.equal(average, content["current_model_state"][key])
    for check in (trainer.validate, trainer.test):
        check(model, data, verbose=False, ckpt_path=file, weights_only=True)
        assert torch.equal(model.state_dict()[key], average), "the average is what is tested"
    assert about["trained_videos"] == data.trained_videos() != ""
    assert about["class_weights"] == model.class_weights.tolist()
    data.catalogue.official = "UCF-101, split 2"
    model.meet(data, training=True)
    assert model.hparams["data_split"] == "UCF-101, split 2"


def test_a_network_a_loss_and_an_optimiser_of_ones_own(small_data: Path, tmp_path: Path) -> None:
    seen: list[Tensor] = []

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        seen.append(targets)
        return nn.functional.multi_margin_loss(logits, targets)

    data = VideoDataModule(str(small_data), **DATA)
    data.setup("fit")

    def made(parameters: list[nn.Parameter]) -> dict[str, Any]:
        optimizer = torch.optim.Adam(parameters, lr=0.01)
        schedule = LambdaLR(optimizer, lambda step: 0.9**step)  # of the kind that a recipe has
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    model = VideoClassifier(network=Mean(), num_classes=2, loss=loss, optimizer=made)
    options = {**QUIET, "log_every_n_steps": 1}
    result = fit(model, data, run_dir=tmp_path / "run", trainer_options=options)
    assert seen[0].dtype == torch.int64
    assert seen[0].shape == (2,)
    assert (tmp_path / "run" / "summary.md").is_file()
    again = VideoClassifier.load_from_checkpoint(result.last, network=Mean())
    assert torch.equal(again.net.layers[0].weight, model.net.layers[0].weight)
    assert again.class_names == ["dark", "light"]
    with pytest.raises(VideoNLError, match="test_plain_lightning:Mean"):
        VideoClassifier.load_from_checkpoint(result.last)
    with pytest.raises(RuntimeError, match="size mismatch"):
        VideoClassifier.load_from_checkpoint(result.last, network=Mean(3))
    model = VideoClassifier(network=Mean(), num_classes=2, loss=loss, optimizer=made)
    more = {**options, "max_epochs": 3}
    data = VideoDataModule(str(small_data), **DATA)
    data.setup("fit")
    result = fit(model, data, run_dir=tmp_path / "run", resume=result.last, trainer_options=more)
    assert result.epochs == 3
    content = torch.load(result.last, weights_only=True)
    assert content["global_step"] == 12
    assert content["lr_schedulers"][0]["_last_lr"] == pytest.approx([0.01 * 0.9**12])
    assert "not learned" not in str(result.signs)  # a loss of one's own has no known constant


def test_mixed_clips_give_a_loss_shares_and_a_module_with_weights_is_kept(small_data: Path) -> None:
    data = VideoDataModule(str(small_data), **DATA)
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))
    recipe = {"mixup": 0.5, "optimizer": "adamw"}
    model = VideoClassifier(network=Mean(), num_classes=2, loss=weighted, recipe=recipe)
    trainer = L.Trainer(**QUIET, enable_checkpointing=False)
    trainer.fit(model, data)
    assert "net.layers.0.weight" in model.state_dict()


class First(nn.Module):
    """Always answers the first class."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 2)
        nn.init.zeros_(self.layer.weight)
        self.layer.bias.data = torch.tensor([2.0, 0.0])

    def forward(self, clips: Tensor) -> Tensor:
        return self.layer(clips.mean((1, 2, 3, 4))[:, None])


def test_a_look_before_the_training_is_no_score_of_it(small_data: Path, tmp_path: Path) -> None:
    data = VideoDataModule(str(small_data), **{**DATA, "batch_size": 1})
    data.setup("fit")
    model = VideoClassifier(network=First(), num_classes=2, recipe={"learning_rate": 0.0})
    options = {**QUIET, "max_epochs": 1, "num_sanity_val_steps": 1}  # of the first class: right
    result = fit(model, data, run_dir=tmp_path / "run", trainer_options=options)
    assert (result.best_score, result.videos) == (0.5, 4)


def test_sides_follow_classes_that_are_renumbered(small_data: Path) -> None:
    data = VideoDataModule(str(small_data), **DATA, flip_exceptions=["dark"])
    data.setup("fit")
    model = VideoClassifier("tiny_i3d", num_classes=2, class_names=["light", "dark"])
    model.meet(data, training=True)
    dark = {record.label for record in data.records["train"] if "dark" in record.path}
    assert data.augmentation.flip_exceptions == dark == {1}


def test_what_does_not_fit_together_is_one_sentence(small_data: Path) -> None:
    data = VideoDataModule(str(small_data), **DATA)
    model = VideoClassifier("tiny_i3d", num_classes=5)
    with pytest.raises(VideoNLError, match=r"num_classes=5 does not fit .*, which has 2 classes"):
        L.Trainer(**QUIET, enable_checkpointing=False).fit(model, data)
    with pytest.raises(VideoNLError, match="1 class weight for num_classes=2"):
        VideoClassifier("tiny_i3d", num_classes=2, class_weights=[1.0])
    with pytest.raises(VideoNLError, match="leave pretrained out"):
        VideoClassifier(network=Mean(), num_classes=2, pretrained="kinetics.pth")
    data = VideoDataModule(str(small_data), **DATA)
    data.setup("fit")
    data.trainer = L.Trainer(**QUIET, enable_checkpointing=False)
    data.trainer.strategy._world_size = 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(L.Trainer, "world_size", 2)
        with pytest.raises(VideoNLError, match="use_distributed_sampler=False"):
            data.train_dataloader()
