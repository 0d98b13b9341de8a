"""The LightningModule: a network by name, its loss, its accuracy, its recipe.

The file is long because Lightning asks one class for all of it, and the arguments of that class are
the options ``--model.*``, whose help is its docstring.
"""

# ruff: noqa: ARG002 (the hooks' signatures are Lightning's)

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from videonl import __version__
from videonl.data import VideoDataModule
from videonl.errors import VideoNLError, taking_clips
from videonl.limits import limited, whole
from videonl.models import create_model
from videonl.models.finite import check_answers
from videonl.models.view_ensembling import average_logits, over_views, probabilities_of
from videonl.shares import counted
from videonl.training.callbacks.checkpoints import adopt, read_checkpoint
from videonl.training.callbacks.ema import MovingAverage
from videonl.training.callbacks.finite import FiniteLoss, check_score, check_weights, weights_of
from videonl.training.callbacks.logged import LateLog, log_is_due
from videonl.training.classes import align_classes, balanced_weights
from videonl.training.compiled import CompiledNetwork, check_compiler
from videonl.training.mixing import mix
from videonl.training.recipe import (
    Recipe,
    batch_norms,
    configure,
    freeze,
    loss_weight,
    make_recipe,
)
from videonl.training.recompute import recompute_stages
from videonl.training.task import AnyScores, Batch, make_task
from videonl.video.preprocessing import Preprocessing
from videonl.video.transforms import to_clips
from videonl.weights.checkpoint import load_checkpoint
from videonl.weights.hub import pinned_name
from videonl.weights.loading import load_pretrained

# Of the arguments of a classifier.
NEVER_FROM_A_FILE = {"self", "pretrained", "network", "loss", "optimizer"}
COUNTS, MIXING = "training_counts", "mixing_generator"  # in a checkpoint


class VideoClassifier(LightningModule):
    """A video classifier that trains, and that rebuilds itself from its checkpoint alone.

    The checkpoint's ``hyper_parameters`` are primitives.

    Args:
        name: a network of ``videonl.list_models()``.
        num_classes: K.
        class_names: K names, in the order of the labels; travel inside the checkpoint.
        options: options of the network, as ``create_model`` takes them.
        pretrained: published weights, by name or file, to start from.
        preprocessing: size, length and colours of the clips; missing entries are those that the
            network was made for.
        recipe: how to optimise, as a ``Recipe`` or its values by name.
        class_weights: K weights of the classes in the loss; those of a recipe with ``balanced`` are
            made from the training videos.
        network: an existing network in place of ``name``: any module that maps clips
            (B, 3, T, H, W) to logits (B, K). A checkpoint holds only the weights of a network that
            is not one of videonl: pass it to ``load_from_checkpoint`` again.
        fresh: names of the parameters that ``pretrained`` did not fill; set automatically.
        multi_label: whether videos have several classes; by default no, and train.py decides from
            the labels.
        loss: function of logits (B, K) and class numbers (B,), in place of the recipe's loss; with
            mixed clips or several labels the targets are (B, K). Pass it again as well.
        optimizer: function that makes the optimiser of the trainable parameters, in place of the
            recipe's; may return whatever ``configure_optimizers`` may.
        views_per_forward: clips in one forward pass at test time.
        channels_last: memory format of the network's weights (faster convolutions).
        compile: use ``torch.compile`` for training and validation.
        provenance: where the weights come from; this and the following are set automatically.
        licence: of those weights.
        data_split: data set and official split of the training.
        trained_videos: see ``VideoDataModule.trained_videos``.
        videonl_version: of the library.
    """

    @limited(num_classes=whole(1, 10_000_000), views_per_forward=whole(1, 1_000_000))
    def __init__(
        self,
        name: str = "i3d_r50_nl5",
        *,
        num_classes: int,
        class_names: Sequence[str] | None = None,
        options: dict[str, Any] | None = None,
        pretrained: str | None = None,
        preprocessing: Preprocessing | Mapping[str, Any] | None = None,
        recipe: Recipe | Mapping[str, Any] | None = None,
        class_weights: Sequence[float] | None = None,
        multi_label: bool | None = None,
        views_per_forward: int = 16,
        channels_last: bool = True,
        compile: bool = False,
        network: nn.Module | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        optimizer: Callable[[list[nn.Parameter]], Any] | None = None,
        fresh: Sequence[str] = (),
        provenance: str | None = None,
        licence: str | None = None,
        data_split: str | None = None,
        trained_videos: str | None = None,
        videonl_version: str = __version__,
    ) -> None:
        super().__init__()
        for what, each in (("class name", class_names), ("class weight", class_weights)):
            if each is not None and len(each) != num_classes:
                many = counted(len(each), what)
                raise VideoNLError(f"{many} for num_classes={num_classes}; give one for each class")
        if network is not None and pretrained is not None:
            raise VideoNLError(
                "pretrained loads weights into the network of a name; give network with its "
                "weights, and leave pretrained out"
            )
        self.recipe = make_recipe(recipe)
        if pretrained is not None:
            network = load_pretrained(
                name,
                pretrained,
                num_classes=num_classes,
                class_names=class_names,
                **(options or {}),
            )
        self.net = network or create_model(name, num_classes=num_classes, **(options or {}))
        self.loss, self.optimizer = loss, optimizer
        self.is_own = adopt(self.net)
        # `pretrained` is not kept: the checkpoint has the weights, the file may be gone.
        report: Any = self.net.load_report if pretrained else None
        self.fresh = frozenset(report.new if pretrained else fresh)
        config: Any = self.net.config
        made_for: Any = self.net.preprocessing
        if not isinstance(preprocessing, Preprocessing):
            preprocessing = Preprocessing.completed(preprocessing or made_for, made_for)
        self.preprocessing = preprocessing.with_colours(Preprocessing.from_dict(made_for))
        self.class_names = list(class_names) if class_names is not None else None
        self.num_classes = num_classes
        self.views_per_forward = views_per_forward
        self._compile = compile
        self._compiled: CompiledNetwork | None = None
        if compile:
            check_compiler()
        self.task = make_task(num_classes, multi_label=bool(multi_label))
        self.multi_label = self.task.multi_label
        average_logits(self.net, multi_label=self.multi_label)
        if channels_last:
            self.net = self.net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self._make_parts(class_weights)
        started = (pinned_name(report.source) or str(pretrained)) if pretrained else None
        hyper_parameters = {
            "name": config["name"],
            "num_classes": num_classes,
            "class_names": self.class_names,
            "options": config["options"],
            "preprocessing": self.preprocessing.to_dict(),
            "recipe": self.recipe.as_primitives(),
            "class_weights": None if class_weights is None else [float(w) for w in class_weights],
            "multi_label": self.task.multi_label,
            "views_per_forward": views_per_forward,
            "channels_last": channels_last,
            "fresh": sorted(self.fresh),
            "provenance": provenance or started,
            "licence": licence or (report.licence if pretrained else None),
            "data_split": data_split,
            "trained_videos": trained_videos,
            "videonl_version": videonl_version,
        }
        self.save_hyperparameters(hyper_parameters, logger=False)

    def _make_parts(self, class_weights: Sequence[float] | None) -> None:
        """Make meters and class weights, and freeze batch norms."""
        self.class_weights: Tensor | None
        weights = torch.tensor(list(class_weights)) if class_weights is not None else None
        self.register_buffer("class_weights", weights, persistent=False)
        self.train_meter = self.task.meter(training=True)
        self.eval_meter = self.task.meter()  # per video
        self.clip_meter = self.task.meter()  # per view
        self.finite, self._late = FiniteLoss(), LateLog()
        self.mixing = np.random.default_rng(0)  # of mixup and cutmix; StepSeed seeds every step
        self._freeze()

    def _freeze(self) -> None:
        """Freeze the batch norms that the network has now: Lightning may have made others."""
        if self.recipe.batch_norm == "frozen":
            freeze(batch_norms(self.net, exclude=self.fresh))

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, *, views_per_forward: int = 16, network: str | None = None
    ) -> "VideoClassifier":
        """A classifier out of any checkpoint that videonl reads: its own, or a published one.

        Args:
            path: of the file.
            views_per_forward: clips in one forward pass.
            network: see ``load_checkpoint``.

        Raises:
            CheckpointError: missing, unsafe, incomplete or unknown.
        """
        loaded = load_checkpoint(path, network=network)
        config: Any = loaded.model.config
        return cls(
            config["name"],
            num_classes=config["num_classes"],
            class_names=loaded.class_names,
            options=config["options"],
            preprocessing=loaded.preprocessing,
            network=loaded.model,
            multi_label=loaded.multi_label,
            views_per_forward=views_per_forward,
            provenance=str(
                loaded.provenance.get("provenance") or pinned_name(loaded.report.source) or path
            ),
            licence=loaded.provenance.get("licence"),
            data_split=loaded.provenance.get("data_split"),
            trained_videos=loaded.provenance.get("trained_videos"),
        )

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: str | Path,
        map_location: Any = None,
        *,
        strict: bool | None = None,
        weights_only: bool | None = True,
        name: str | None = None,
        network: nn.Module | None = None,
        **values: Any,
    ) -> "VideoClassifier":
        """Load a checkpoint of a training, as in Lightning, without running code from the file.

        Args:
            checkpoint_path: of the file.
            map_location: where the tensors go.
            strict: whether the keys of the weights must be those of the network.
            weights_only: False is refused.
            name: the name of the network, where it is ``package.module:function``.
            network: the network, where it was one of yours.
            values: hyper-parameters that win over those of the file.

        Raises:
            CheckpointError: missing, unsafe, not ours, or with weights that are not finite.
        """
        if weights_only is False:
            raise VideoNLError("weights_only=False would run code out of the file; leave it out")
        content = read_checkpoint(Path(checkpoint_path), network=name or network)
        known = set(signature(cls.__init__).parameters) - NEVER_FROM_A_FILE
        saved = {key: value for key, value in content["hyper_parameters"].items() if key in known}
        module = cls(**{**saved, **values}, network=network)
        module.on_load_checkpoint(content)
        module.load_state_dict(content["state_dict"], strict=strict is not False)
        return module.to(map_location) if isinstance(map_location, (str, torch.device)) else module

    def set_preprocessing(self, shown: Preprocessing) -> None:
        """Set how the data set makes its clips and views, and save it in checkpoints.

        Mean and deviation of the colours are the network's if the data set does not set them.
        """
        self.preprocessing = shown.with_colours(self.preprocessing)
        self.hparams["preprocessing"] = self.preprocessing.to_dict()

    def train(self, mode: bool = True) -> "VideoClassifier":
        """Switch the mode; frozen batch norms stay in evaluation mode."""
        super().train(mode)
        self._freeze()
        return self

    def setup(self, stage: str) -> None:
        """Set up recomputation and compilation for a training; the keys of the state dict stay.

        Classes and clips are taken from a ``VideoDataModule``; in a test its classes are renumbered
        as those of the network.
        """
        data = None if self._trainer is None else self.trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, VideoDataModule):
            self.meet(data, training=stage == "fit")
            if stage == "fit":
                self.hparams["trained_videos"] = data.trained_videos()
        if stage == "fit":
            recompute_stages(self.net, self.recipe.checkpoint_stages)
            if self._compile and self._compiled is None:
                whole = not self.recipe.checkpoint_stages  # whose blocks stay uncompiled
                self._compiled = CompiledNetwork(self.net, whole=whole)

    def meet(self, data: VideoDataModule, *, training: bool) -> None:
        """Take classes and preprocessing from a data set; for a training also what depends on it.

        Raises:
            VideoNLError: its classes are not those of the network.
        """
        if data.multi_label and training and not self.multi_label:
            raise VideoNLError(f"{data.root} has several labels per video: set multi_label=True")
        if not training or self.class_names is not None:
            if data.class_names != self.class_names:
                align_classes(data, self.class_names, num_classes=self.num_classes)
        elif data.num_classes != self.num_classes:
            raise VideoNLError(
                f"num_classes={self.num_classes} does not fit {data.root}, which has "
                f"{counted(data.num_classes, 'class')}"
            )
        else:
            self.class_names = list(data.class_names)
            self.hparams["class_names"] = self.class_names
        if training:
            self.hparams["data_split"] = data.catalogue.official
            if self.recipe.class_weights == "balanced":
                weights = balanced_weights(list(data.census["train"].values()))
                self.class_weights = torch.tensor(weights)
                self.hparams["class_weights"] = weights
        self.set_preprocessing(data.preprocessing)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (B, K) of normalised clips (B, 3, T, H, W)."""
        with taking_clips(clips.shape):
            return self.net(clips) if self._compiled is None else self._compiled(clips)

    def clips(self, batch: Batch) -> Tensor:
        """The normalised views of a batch, (B, V, 3, T, H, W), of the network's own precision.

        They are computed in float32, also if ``--trainer.precision`` is a half precision.
        """
        mean, std = self.preprocessing.colours
        clips = to_clips(batch["video"], mean=mean, std=std)
        return clips.to(next(self.net.parameters()).dtype)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a batch, without synchronising with the device."""
        clips = self.clips(batch)
        views = clips.shape[1]
        truth = self.task.truth(batch)
        truth = truth if views == 1 else truth.repeat_interleave(views, 0)
        whole = clips.flatten(0, 1)
        mixed, targets = mix(
            whole,
            self.task.targets(truth),
            mixup=self.recipe.mixup,
            cutmix=self.recipe.cutmix,
            generator=self.mixing,
        )
        logits = self(mixed)
        loss, losses = self._loss(logits, targets, truth, mixed=mixed is not whole)
        self._noted = self.finite.check(loss, step=self.global_step)
        self.train_meter.update(logits.detach(), truth, losses.detach())
        self.log("train/loss", loss.detach(), logger=False)  # for whoever monitors it
        return loss if self._trainer is None else loss * loss_weight(self._trainer, batch_idx)

    def _loss(
        self, logits: Tensor, targets: Tensor, truth: Tensor, *, mixed: bool
    ) -> tuple[Tensor, Tensor]:
        """(mean, losses of the clips (B,)), by the recipe or by the user's ``loss``."""
        if self.loss is None:
            return self.task.loss(
                logits,
                targets,
                class_weights=self.class_weights,
                label_smoothing=self.recipe.label_smoothing,
            )
        losses = self.loss(logits, targets if mixed or self.multi_label else truth)
        return losses.mean(), losses.detach().mean().expand(len(logits))

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log the losses that have arrived; print how long compiling took."""
        if log_is_due(self.trainer):
            self._late.add(self._noted, self.trainer)
        self._late.hand_over(self.trainer)
        if self.finite.latest is not None:
            self.log("loss", self.finite.latest, prog_bar=True, logger=False)
        if self._compiled is not None:
            self._compiled.tell(self.print, "training")

    def teardown(self, stage: str) -> None:
        """Remove the callbacks at the compiler."""
        if self._compiled is not None:
            self._compiled.close()

    def on_train_epoch_end(self) -> None:
        """Log the accuracy on the training clips, as they were seen (augmented, while training)."""
        self._settle()
        scores: Any = self.train_meter.scores(self.device)
        self.train_meter.reset()
        loss = {} if scores.loss is None else {"train/epoch_loss": scores.loss}  # without labels
        self.log_dict({**loss, **self.task.logged(scores)})

    def _settle(self) -> None:
        """Wait for the losses that are on their way: look at them, log them."""
        self.finite.settle()
        if self._trainer is not None:
            self._late.hand_over(self._trainer, wait=True)

    def view_probabilities(self, frames: Tensor) -> Tensor:
        """Probabilities of every view; ``views_per_forward`` of them are floats at a time.

        Args:
            frames: uint8 (B, V, T, H, W, 3).

        Returns:
            (B, V, K) float64, as ``Predictor`` computes them.
        """
        chunks = frames.flatten(0, 1).split(self.views_per_forward)
        logits = (self(self.clips({"video": chunk})) for chunk in chunks)
        parts = [probabilities_of(each, multi_label=self.multi_label) for each in logits]
        return torch.cat(parts).unflatten(0, frames.shape[:2])

    def over_views(self, probabilities: Tensor) -> Tensor:
        """Probabilities per video from those of its views: (B, V, K) -> (B, K)."""
        average = self.preprocessing.average
        return over_views(probabilities, multi_label=self.multi_label, average=average)

    def evaluate(self, batch: Batch) -> Tensor:
        """Add a batch to the meters, per view and per video; returns probabilities (B, K)."""
        task = self.task
        task.miss(self.eval_meter, batch)
        task.miss(self.clip_meter, batch, times=batch["views"])
        if not len(batch["label"]):  # none of its files could be read
            return torch.zeros(0, self.num_classes)
        per_view = self.view_probabilities(batch["video"])
        truth = task.truth(batch)
        video = self.over_views(per_view)
        self.eval_meter.update(video, truth, task.loss_of(video, truth))
        clips, repeated = per_view.flatten(0, 1), truth.repeat_interleave(per_view.shape[1], 0)
        self.clip_meter.update(clips, repeated, task.loss_of(clips, repeated))
        return video

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a batch."""
        self.evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Count a batch; returns its answers as ``predict_step`` does."""
        return {"index": batch["index"], "probabilities": self.evaluate(batch)}

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Probabilities of a batch: {"index": (B,), "probabilities": (B, K)}."""
        video = torch.zeros(0, self.num_classes)
        if len(batch["index"]):  # else none of its files could be read
            per_view = self.view_probabilities(batch["video"])
            video = check_answers(self.over_views(per_view))
        return {"index": batch["index"], "probabilities": video}

    @property
    def _fitting(self) -> bool:
        """Whether this is a training, not a test."""
        return self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING

    def on_validation_epoch_start(self) -> None:
        """Refuse to validate weights (or averages of them) that are not finite."""
        if self._fitting:
            self._settle()
            check_weights(self.state_dict(), step=self.global_step)

    def on_validation_epoch_end(self) -> None:
        """Log loss and accuracies of the validation set."""
        if self._compiled is not None:
            self._compiled.tell(self.print, "validation")
        self.finish_evaluation("val")

    def on_test_epoch_end(self) -> None:
        """Log loss and accuracies of the test set."""
        self.finish_evaluation("test")

    def finish_evaluation(self, split: str) -> None:
        """Compute and log the scores of the pass; sets ``video_scores`` and ``clip_scores``."""
        self.video_scores: AnyScores = self.eval_meter.scores(self.device)
        self.clip_scores: AnyScores = self.clip_meter.scores(self.device)
        self.eval_meter.reset()
        self.clip_meter.reset()
        check_score(self.video_scores.loss, step=self.global_step if self._fitting else None)
        clip = {f"clip_{self.task.metric}": self.clip_scores.headline} if split == "test" else {}
        values = self.video_scores.logged() | clip
        self.log_dict({f"{split}/{key}": value for key, value in values.items()})

    def configure_callbacks(self) -> list[Callback]:
        """The moving average of the recipe, where the Trainer of a training has none."""
        there = any(isinstance(c, MovingAverage) for c in self.trainer.callbacks)  # type: ignore[attr-defined]
        wanted = self.recipe.ema and self._fitting and not there
        return [MovingAverage(self.recipe.ema)] if wanted else []

    def configure_optimizers(self) -> Any:
        """SGD or AdamW over parameter groups, and the schedule per step; or the user's own.

        Raises:
            VideoNLError: the batch, by which the recipe's rate scales, is not known.
        """
        self.rates: list[float] = []
        if self.optimizer is not None:
            return self.optimizer([p for p in self.parameters() if p.requires_grad])
        if not hasattr(self.trainer.datamodule, "training_batches"):  # type: ignore[attr-defined]
            raise VideoNLError(
                "give the Trainer a VideoDataModule, fit(model, data), not its loaders: the rate "
                "of the recipe follows its batch, and it augments the clips; or give the "
                "classifier an optimizer of your own"
            )
        made = configure(self.net, self.recipe, self.trainer, fresh=self.fresh)
        self.rates = [group["initial_lr"] for group in made["optimizer"].param_groups]
        return made

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to save after a loss or weights that are not finite; save the training counts."""
        self._settle()
        check_weights(weights_of(checkpoint), step=self.global_step)
        self.train_meter.to(self.device)
        checkpoint[COUNTS] = self.train_meter.state()
        checkpoint[MIXING] = dict(self.mixing.bit_generator.state)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the counts of an unfinished epoch."""
        if COUNTS in checkpoint and self._trainer is not None and self.trainer.is_global_zero:
            self.train_meter.load(checkpoint[COUNTS])
        if MIXING in checkpoint:
            self.mixing.bit_generator.state = checkpoint[MIXING]
