"""The LightningDataModule: a folder becomes batches of uint8 videos.

The file is long because Lightning asks one class for all of it, and the arguments of that class are
the options ``--data.*``, whose help is its docstring.
"""

import os
from collections import Counter
from dataclasses import replace
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch.utils.data import DataLoader, SequentialSampler

from videonl.class_names import ClassNumbers
from videonl.data.augmentation import Augmentation, augment
from videonl.data.cache_plan import (
    FEWEST_EPOCHS,
    need_of,
    plan_caches,
    release,
    test_scaling,
    training_scaling,
)
from videonl.data.catalogue import Catalogue, read_catalogue, split_off
from videonl.data.census import census_text, is_skipped
from videonl.data.dataset import Item, TimedLoader, VideoDataset, collate
from videonl.data.facts import (
    LOOKED_AT,
    Facts,
    Look,
    look_at,
    rates_of,
    usual_aspect,
    usual_seconds,
)
from videonl.data.frame_cache import FrameCache
from videonl.data.passing import workers_that_can_start
from videonl.data.records import Record
from videonl.data.samplers import BalancedSampler, EvaluationSampler, TrainingSampler, by_turns
from videonl.data.splits import identities, pattern_of
from videonl.errors import DatasetError, VideoNLError
from videonl.escapes import as_word
from videonl.limits import SEED, Limit, limited, number, one_of, usable_cores, whole
from videonl.shares import counted
from videonl.video.preprocessing import Preprocessing, rectangle_of, refuse_idle
from videonl.video.transfer import sent
from videonl.video.video import Decoder

EVALUATED = {"val", "test"}  # all of their videos count, whether they can be read or not
FEW_BAD_FILES = 16  # so many unreadable videos never stop a training


class VideoDataModule(L.LightningDataModule):
    """Videos of a folder ``root/{train,val,test}/<class>/*`` for the Trainer.

    A batch is ``{"video": uint8 (B, V, T, H, W, 3), "label": int64 (B,), "index": int64 (B,), …}``,
    see :func:`videonl.data.dataset.collate`; ``to_clips`` makes the network's input of it on the
    device.

    The loaders split the videos among processes themselves, without padding: use
    ``Trainer(use_distributed_sampler=False)``.

    Attributes:
        class_names: after ``setup``: the classes of train/, in canonical order.
        census: after ``setup``: per split, the number of videos found per class.
    """

    @limited(
        jitter=Limit(1, 16_384, integral=True, length=2, rising=True),
        batch_size=whole(1, 1_000_000),
        num_workers=whole(0, 1024),
        views=Limit(1, 1000, integral=True, length=2),
        val_views=Limit(1, 1000, integral=True, length=2),
        seed=SEED,
        decoder=one_of("auto", "pyav", "decord"),
        val_share=number(0, 1),
        max_bad_share=number(0, 1),
        flip=number(0, 1),
        resized_crop=Limit(0, 1, above=True, length=2, rising=True),
        rand_augment=whole(0, 100),
        magnitude=number(0, 10),
        erasing=number(0, 1),
    )
    def __init__(
        self,
        root: str,
        *,
        frames: int = 8,
        stride: int | None = None,
        short_side: int = 256,
        crop: int = 224,
        jitter: tuple[int, int] | None = None,
        fps: float | Literal["training", "keep"] | None = "training",
        short_video: str = "loop",
        batch_size: int = 8,
        num_workers: int | None = None,
        views: tuple[int, int] | None = None,
        val_views: tuple[int, int] = (1, 1),
        test_crop: int | Literal["crop", "short_side"] = "crop",
        seed: int = 0,
        decoder: Decoder = "auto",
        train_list: str | None = None,
        val_list: str | None = None,
        test_list: str | None = None,
        class_names_file: str | None = None,
        first_label: int | None = None,
        official_split: int | None = None,
        val: Literal["auto", "none"] = "auto",
        val_share: float = 0.2,
        group: str | None = None,
        skip_list: str | None = None,
        max_bad_share: float = 0.05,
        flip: float = 0.5,
        flip_exceptions: list[str] | None = None,
        resized_crop: tuple[float, float] | None = None,
        rand_augment: int = 0,
        magnitude: float = 7.0,
        erasing: float = 0.0,
        balanced: bool = False,
        sampling: Literal["dense", "segments"] = "dense",
        picture: Literal["crop", "whole"] = "crop",
        rectangle: tuple[int, int] | None = None,
        preprocessing: Preprocessing | None = None,
        split_seed: int | None = None,
    ) -> None:
        """Nothing is read before ``setup``.

        Args:
            root: the data set's folder.
            frames: frames per clip.
            stride: step between them; default 8. Segments have none.
            short_side: short side of test frames, in pixels.
            crop: side of the training crop.
            jitter: range of the short side in training; default: from that of the test to 1.25
                times it. Whole pictures are scaled by the same share; default: 0.9 to 1.15.
            fps: how time is counted. ``training``: in frames, but by time in files whose rate
                noticeably differs from that of most training videos; ``keep``: in the frames of
                every file; a number: by time at that rate.
            short_video: ``"loop"`` or ``"pad"``, for videos shorter than a clip.
            batch_size: videos per batch and process in training; evaluation uses as many clips.
            num_workers: worker processes per loader; default one per core, at most 8; 0 = none.
            views: clips and crops per video in testing; default: those with which the network was
                validated or published, else ``val_views``.
            val_views: the same in validation; the checkpoint stores them.
            test_crop: side of the squares where a test takes three crops: as large as in training
                (crop), the whole short side as the paper tests (short_side), or pixels.
            seed: of order and augmentation.
            decoder: see :func:`videonl.video.video.open_video`.
            train_list: list file of the training videos (formats: docs/data.md); default
                ``root/train.csv`` and the like, beside flat folders.
            val_list: the same for validation.
            test_list: the same for testing.
            class_names_file: class names, one per line, in the order of the lists' numbers.
            first_label: number of the first class in lists; default: 0, or 1 where that is certain.
            official_split: of a data set that has several, such as UCF-101; default the first.
            val: "none" trains without validation; "auto" splits off a part where there is none.
            val_share: share of the training videos that is split off.
            group: regular expression whose match in a path is equal for files that belong together;
                default: an obvious prefix, such as UCF's g01.
            skip_list: written by ``videonl check``; default ``root/videonl_skip.tsv`` if it exists.
            max_bad_share: unreadable training videos above this share stop a training.
            flip: probability of a mirrored training clip.
            flip_exceptions: classes for which left and right matter: never mirrored.
            resized_crop: smallest and largest share of the picture of a random box that is scaled
                to ``crop``, such as ``(0.08, 1.0)``; default: a plain crop.
            rand_augment: operations of RandAugment per training clip.
            magnitude: their strength, 0 to 10.
            erasing: probability that a box of a training clip is filled with noise.
            balanced: train on every class equally often.
            sampling: ``dense``: consecutive frames; ``segments``: one of each of so many equal
                segments of the whole video, drawn at random in training, else their middles.
            picture: ``crop``: squares; ``whole``: all of a picture, in a rectangle, the rest filled
                with the mean colour.
            rectangle: its height and width; default: as many pixels as ``crop``², with the median
                aspect of the training pictures, in multiples of 16 (of 8 below 112).
            preprocessing: clips and views as one value, in place of the arguments for parts of it.
            split_seed: of a split that is made here; default ``seed``.
        """
        super().__init__()
        for option, asked in (("views", views), ("val_views", val_views)):
            if asked is not None and asked[1] not in (1, 3):
                raise DatasetError(f"{option}={tuple(asked)}: crops are 1 or 3")
        self.root = str(root)
        sides: dict[int | str, int | None] = {"crop": crop, "short_side": None}
        try:
            if preprocessing is None:
                said: dict[str, Any] = {"stride": stride, "rectangle": rectangle}
                said |= {"fps": None if fps == "training" else fps, "short_video": short_video}
                if isinstance(test_crop, int):
                    said["test_crop"] = test_crop
                refuse_idle(said, sampling=sampling, picture=picture)
            self.preprocessing = preprocessing or Preprocessing(
                frames=frames,
                stride=8 if stride is None else stride,
                short_side=short_side,
                crop=crop,
                fps=None if isinstance(fps, str) else fps,
                short_video=short_video,  # type: ignore[arg-type]
                views=val_views,
                test_crop=sides.get(test_crop, test_crop),  # type: ignore[arg-type]
                sampling=sampling,
                picture=picture,
                rectangle=rectangle,
            )
        except VideoNLError as error:
            raise DatasetError(str(error)) from error
        self.find = {  # what ``setup("fit")`` determines from the training videos
            "rate": preprocessing is None and fps in ("training", None) and sampling == "dense",
            "duration": preprocessing is None and sampling == "segments",
            "rectangle": preprocessing is None and picture == "whole" and rectangle is None,
        }
        self.rate_text = ""  # after ``setup("fit")``: what was found
        short_side = self.preprocessing.short_side
        low, high = (1.0, 1.25) if self.preprocessing.rectangle is None else (0.9, 1.15)
        self.jitter = tuple(jitter or (round(short_side * low), round(short_side * high)))
        self.batch_size = batch_size
        self.num_workers = min(usable_cores(), 8) if num_workers is None else num_workers
        self.views = views if views is None else self.preprocessing.with_views(views).views
        self.seed, self.balanced = seed, balanced
        self.decoder = decoder
        self.lists = {"train": train_list, "val": val_list, "test": test_list}
        self.given_class_names = class_names_file
        if first_label is not None and first_label not in (0, 1):
            raise DatasetError(f"first_label={first_label}: lists count from 0 or from 1")
        if val not in ("auto", "none"):
            raise DatasetError(f"val={val!r}: give auto, or none to train without validation")
        self.val, self.val_share, self.group = val, val_share, group
        if val == "auto" and not 0 < val_share < 1:
            raise DatasetError(
                f"val_share={val_share:g} must lie between 0 and 1; --data.val none trains "
                "without one"
            )
        if group is not None:
            pattern_of(group)
        self.split_seed = seed if split_seed is None else split_seed
        self.made_split = False
        self.first_label, self.official_split = first_label, official_split
        self.skip_list = skip_list
        self.max_bad_share = max_bad_share
        self.flip_exceptions = list(flip_exceptions or ())
        if resized_crop and self.preprocessing.rectangle:
            raise DatasetError(
                "resized_crop cuts a part out of a picture, and picture=whole shows all of it; "
                "leave one of them out"
            )
        self.resized_crop = resized_crop
        self.augmentation = Augmentation(
            flip=flip, layers=rand_augment, magnitude=magnitude, erasing=erasing
        )
        self.bad_files: dict[str, str] = {}  # path -> reason, met in training
        self.look = Look({}, 0, "nothing")  # after ``setup("fit")``: facts from headers
        self.caches: dict[str, FrameCache] = {}  # of decoded frames, by split
        self.cache_text: str | None = None  # what was decided about them; None: nothing so far
        self.catalogue = Catalogue()
        self.first_epoch = self.skip_batches = 0  # where a resumed training goes on
        self.class_names: list[str] = []
        self.census: dict[str, dict[str, int]] = {}
        self.records: dict[str, list[Record]] = {}

    @property
    def num_classes(self) -> int:
        """Number of classes; after ``setup``."""
        return len(self.class_names)

    @property
    def multi_label(self) -> bool:
        """Whether some video has several labels; after ``setup``."""
        return self.catalogue.multi_label

    def setup(self, stage: str | None = None) -> None:
        """Read the folder: class names, records, census."""
        needed = {"fit": ("train",), "validate": ("val",), "test": ("test",)}.get(stage or "", ())
        if not self.class_names:
            self._scan(stage)
        for split in needed:
            if split not in self.records:
                lists = any(self.lists.values())
                way = f"; lists take the place of folders: give --data.{split}_list, too"
                raise DatasetError(
                    f"{self.root} has no {split} folder (it has: {', '.join(self.records)})"
                    f"{way if lists else ''}"
                )
        if stage == "fit":
            looked_at = [*self._kept("train"), *self.records.get("val", ())]
            self.look = look_at([os.fspath(r.path) for r in looked_at])
            self._find()

    def _find(self) -> None:
        """Determine settings of the clips that were not given from the training videos."""
        wanted = [name for name, unknown in self.find.items() if unknown]
        self.find = {}
        paths = [os.fspath(r.path) for r in self._kept("train")] if wanted else []
        found: dict[str, Any] = {}
        if "rate" in wanted:
            rates = rates_of(self._facts("train"))
            found["rate"], self.rate_text = rates.usual, rates.text(rates.usual)
        if "duration" in wanted:
            found["duration"] = usual_seconds(paths)
        if "rectangle" in wanted:
            found["rectangle"] = rectangle_of(usual_aspect(paths), self.preprocessing.crop)
        self.preprocessing = self.preprocessing.changed(**found)

    def _facts(self, split: str) -> list[Facts]:
        paths = (os.fspath(record.path) for record in self.records.get(split, ()))
        return [self.look.facts[path] for path in paths if path in self.look.facts]

    def keep_decoded(self, epochs: int | None) -> str:
        """Decide whether the frames of this training are stored, so that they are decoded once.

        Args:
            epochs: of the training; None or -1: unknown.

        Returns:
            One sentence; "" where the training is too short for that.
        """
        if self.cache_text is not None:
            return self.cache_text
        self.cache_text = ""
        facts = self._facts("train")
        if epochs in range(FEWEST_EPOCHS) or not any(f.rate and f.seconds for f in facts):
            return self.cache_text
        videos = len(self._kept("train"))
        scaling = training_scaling(self.preprocessing, (self.jitter[0], self.jitter[1]))
        needs = {"train": need_of(facts, videos, scaling=scaling)}
        if videos := len(self.records.get("val", ())):
            scaling = test_scaling(self.preprocessing)
            needs["val"] = need_of(facts, videos, scaling=scaling, shown=self.preprocessing)
        self.caches, self.cache_text = plan_caches(self.root, needs, decoder=self.decoder)
        return self.cache_text

    def cure_for_waiting(self, *, on_cpu: bool) -> str:
        """What to do if a training waits for its videos; "" if nothing helps.

        Args:
            on_cpu: the network is computed on the cores that decode.
        """
        cores = usable_cores()
        if self.num_workers < cores and not on_cpu:
            return f"raise --data.num_workers ({self.num_workers} now, {counted(cores, 'core')})"
        if self.caches:
            return ""
        side = self.jitter[1]
        return (
            "re-encode them for fast access: "
            f"videonl prepare {as_word(self.root)} DIR --short-side {side}"
        )

    def teardown(self, stage: str | None = None) -> None:
        """Release the stored frames, so that other processes may remove them."""
        if stage == "fit":
            release(cache.folder for cache in self.caches.values())
            self.cache_text = None

    def trained_videos(self) -> str | None:
        """Hashes of the training videos, for the checkpoint, if the folder has no split of its own.

        That is: the split was made here or comes from lists that were given.
        """
        if not (self.catalogue.unsplit or self.lists["train"]):
            return None
        return "".join(identities(self.records["train"], self.root))

    def rates_differ(self, split: str) -> str:
        """A note if the videos of a split have other frame rates than the training's, or ""."""
        rate = self.preprocessing.rate
        if rate is None or self.preprocessing.by_time:
            return ""
        paths = [os.fspath(record.path) for record in self.records[split]]
        found = rates_of(look_at(paths, most=LOOKED_AT).facts.values())
        return found.text(rate) if found.others(rate) else ""

    def _divide(self, stage: str | None) -> None:
        """Split off a validation part if there is none; in a test, all videos are test videos."""
        catalogue = self.catalogue
        if stage == "fit" and "train" in catalogue.records:
            if self.val == "none":
                for part in (catalogue.records, catalogue.census, catalogue.missing):
                    part.pop("val", None)  # type: ignore[attr-defined]
            elif "val" not in catalogue.records:
                split_off(
                    catalogue,
                    self.root,
                    share=self.val_share,
                    seed=self.split_seed,
                    group=self.group,
                )
                self.made_split = True
            if len(self.catalogue.class_names) < 2 and not self.multi_label:
                raise DatasetError(
                    f"{self.root} has only one class ({', '.join(catalogue.class_names)}), so "
                    "there is nothing to tell apart; add a folder for another class"
                )
        elif catalogue.unsplit:
            catalogue.all_is_test()

    def _scan(self, stage: str | None = None) -> None:
        self.catalogue = read_catalogue(
            self.root,
            lists=self.lists,
            class_names=self.given_class_names,
            first_label=self.first_label,
            official_split=self.official_split,
            skip_list=self.skip_list,
        )
        self._divide(stage)
        self.class_names = self.catalogue.class_names
        self.records = dict(self.catalogue.records)  # of ours: labels may be renumbered
        self.census = {split: part.per_class for split, part in self.catalogue.census.items()}
        for split in self.records.keys() & EVALUATED:  # a listed video that is gone is wrong
            self.take(split, [*self.records[split], *self.catalogue.missing.get(split, [])])
        self.augmentation = replace(self.augmentation, flip_exceptions=self._keep_sides())
        if any(part.missing or part.unreadable for part in self.catalogue.census.values()):
            rank_zero_info(census_text(self.catalogue.census, self.class_names))

    def take(self, split: str, records: list[Record]) -> None:
        """Take these videos as a split; its census is theirs."""
        self.records[split] = records
        counts = Counter(number for record in records for number in record.labels)
        self.census[split] = {name: counts[i] for i, name in enumerate(self.class_names)}

    def _keep_sides(self) -> frozenset[int]:
        if self.catalogue.sides_matter:
            return frozenset(range(self.num_classes))
        number = ClassNumbers(self.class_names)
        unknown = [name for name in self.flip_exceptions if name not in number]
        if unknown:
            raise DatasetError(
                f"flip_exceptions names {unknown[0]!r}, which is not among the "
                f"{counted(self.num_classes, 'class')}"
            )
        return frozenset(number[name] for name in self.flip_exceptions)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG002
        """Keep a copy of the seeds on the CPU: reading them from a GPU would wait for it."""
        return {**batch, "host": (batch["label"].tolist(), batch["seed"].tolist())}

    def transfer_batch_to_device(
        self,
        batch: Any,
        device: torch.device,
        dataloader_idx: int,  # noqa: ARG002
    ) -> Any:
        """Send a batch off, beside what a GPU computes with the one before."""
        return {k: sent(v, device) if torch.is_tensor(v) else v for k, v in batch.items()}

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG002
        """Augment a training batch on its device; stop if too many of its files are bad."""
        if self.trainer is not None and self.trainer.training:
            self._watch(batch["replaced"])
            batch = {**batch, "video": self.augmented(batch)}
        return batch

    def augmented(self, batch: dict[str, Any]) -> torch.Tensor:
        """The augmented videos of a training batch, uint8 (B, V, T, H, W, 3)."""
        labels, seeds = batch.get("host") or (batch["label"], batch["seed"])
        return augment(batch["video"], labels, seeds, self.augmentation)

    def _watch(self, replaced: list[tuple[str, str]]) -> None:
        self.bad_files.update(replaced)
        allowed = max(FEW_BAD_FILES, self.max_bad_share * len(self.records["train"]))
        if len(self.bad_files) > allowed:
            path, why = next(iter(self.bad_files.items()))
            raise DatasetError(
                f"{len(self.bad_files)} of {counted(len(self.records['train']), 'training video')} "
                f"cannot be read, more than max_bad_share={self.max_bad_share:g} allows (the "
                f"first: {why if path in why else f'{path}: {why}'}); run "
                f"videonl check {as_word(self.root)}"
            )

    def train_dataloader(self) -> DataLoader[Item]:
        """One random clip per video, in a new order every epoch."""
        rank, world = self._process()
        if self.trainer is not None:
            self.keep_decoded(self.trainer.max_epochs)
        dataset = self._dataset("train", self.preprocessing, training=True)
        if self._overfits:
            return self._loader(
                dataset, SequentialSampler(dataset), self.batch_size, drop_last=False
            )
        share = {"seed": self.seed, "rank": rank, "world_size": world}
        sampler = TrainingSampler(len(dataset), **share)
        if self.balanced:
            sampler = BalancedSampler(dataset.labels.tolist(), **share)
        # Lightning sets the epoch only after the workers have begun to read its order.
        sampler.set_epoch(self.first_epoch)
        sampler.skip(self.skip_batches * self.batch_size)
        self.first_epoch = self.skip_batches = 0
        return self._loader(
            dataset, sampler, self.batch_size, drop_last=len(sampler) > self.batch_size
        )

    def training_batches(self, world_size: int) -> int:
        """Training batches of an epoch for each of ``world_size`` processes; after ``setup``."""
        return max(1, self._share(world_size) // self.batch_size)

    def clips_per_batch(self, world_size: int) -> int:
        """Clips of a training batch of each process: all its videos if they are fewer."""
        return min(self.batch_size, self._share(world_size))

    def _share(self, world_size: int) -> int:
        """Training videos of each process, at least 1."""
        return max(1, len(TrainingSampler(len(self._kept("train")), world_size=world_size)))

    def val_dataloader(self) -> DataLoader[Item]:
        """Every validation video once, ``val_views``."""
        return self.evaluation_loader("val")

    def test_dataloader(self) -> DataLoader[Item]:
        """Every test video once, ``views``."""
        return self.evaluation_loader("test", self.views)

    def predict_dataloader(self) -> DataLoader[Item]:
        """Every video of test/ (or val/, or train/) once, ``views``."""
        split = next(s for s in ("test", "val", "train") if s in self.records)
        return self.evaluation_loader(split, self.views)

    def evaluation_loader(
        self, split: str, views: tuple[int, int] | None = None
    ) -> DataLoader[Item]:
        """Every video of any split once, with these (clips, crops); None: those of validation."""
        rank, world = self._process()
        shown = self.preprocessing.with_views(views)
        dataset = self._dataset(split, shown, training=False)
        sampler: Any = EvaluationSampler(len(dataset), rank=rank, world_size=world)
        if self._overfits:
            sampler = SequentialSampler(dataset)
        batch = max(1, self.batch_size // shown.num_views)
        return self._loader(dataset, sampler, batch, drop_last=False)

    @property
    def _overfits(self) -> bool:
        """Whether a training takes the same few batches each time (``overfit_batches``)."""
        trainer: Any = self.trainer
        return trainer is not None and trainer.overfit_batches > 0

    def _kept(self, split: str) -> list[Record]:
        """The videos not on the skip list; evaluation reports the others one by one."""
        skipped = self.catalogue.skipped
        return [r for r in self.records[split] if not is_skipped(r.path, skipped)]

    def _dataset(self, split: str, shown: Preprocessing, *, training: bool) -> VideoDataset:
        crop, squares = shown.crop, shown.rectangle is None
        if training and squares and not self.resized_crop and self.jitter[0] < crop:
            raise DatasetError(f"jitter={self.jitter} begins below crop={crop}")
        of_validation = split == "val" and shown == self.preprocessing
        cache = self.caches.get("train" if training else "val")
        network = getattr(self.trainer, "lightning_module", None)
        if isinstance(known := getattr(network, "preprocessing", None), Preprocessing):
            shown = shown.with_colours(known)  # whole pictures are padded with its mean
        records = self._kept(split) if training else self.records[split]
        if self._overfits:
            labels = [-1 if record.label is None else record.label for record in records]
            records = [records[index] for index in by_turns(labels, seed=self.seed)]
        return VideoDataset(
            records,
            skip=self.catalogue.skipped,
            resized_crop=self.resized_crop,
            preprocessing=shown,
            training=training,
            jitter=(self.jitter[0], self.jitter[1]),
            seed=self.seed,
            decoder=self.decoder,
            cache=cache if training or of_validation else None,
        )

    def _loader(
        self, dataset: VideoDataset, sampler: Any, batch_size: int, *, drop_last: bool
    ) -> DataLoader[Item]:
        workers = workers_that_can_start(self.num_workers, tell=rank_zero_warn)
        share: dict[str, Any] = {"batch_sampler": [[]]}  # fewer videos than processes: one of none
        if len(sampler):
            share = {"batch_size": batch_size, "sampler": sampler, "drop_last": drop_last}
        return TimedLoader(
            dataset,
            **share,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
        )

    def _process(self) -> tuple[int, int]:
        """(rank, number of processes) of the Trainer, (0, 1) without one.

        Raises:
            DatasetError: the Trainer would replace the samplers.
        """
        if self.trainer is None:
            return 0, 1
        trainer: Any = self.trainer
        if trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:
            raise DatasetError(
                "the loaders split the videos among the processes themselves, without padding: "
                "make the Trainer with use_distributed_sampler=False"
            )
        return self.trainer.global_rank, self.trainer.world_size
