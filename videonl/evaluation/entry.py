"""Entries of a comparison: networks by name, and checkpoints."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videonl.class_names import ClassNumbers
from videonl.errors import CheckpointError, VideoNLError
from videonl.evaluation.cost import count_cost, designed_clip
from videonl.inference.predictor import Predictor
from videonl.models import create_model, list_models
from videonl.models.registry import find_entry
from videonl.shares import counted, few
from videonl.video.preprocessing import Preprocessing
from videonl.video.protocols import under_protocol
from videonl.weights.run_folder import SUFFIXES

WEIGHTS = (*SUFFIXES, ".params")


@dataclass(frozen=True)
class Entry:
    """One thing to compare.

    Attributes:
        target: a network's name, or a checkpoint.
        name: name of its row; "" to choose one.
        options: of the network, where ``target`` is a name.
        pretrained: the weights that its training starts from; None: those of the budget.
        network: the network of a checkpoint, if it is not one of videonl, as given by the user
            (``Predictor.from_checkpoint``).
        protocol: the publisher's test by which it is tested; None: its own.
    """

    target: str
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    network: str | None = None
    pretrained: str | None = None
    protocol: str | None = None

    @property
    def is_checkpoint(self) -> bool:
        """Whether it is a checkpoint (a file, a run's folder, published weights), not a network."""
        target = self.target
        if target in list_models():  # even if the current folder holds something of that name
            return False
        return Path(target).exists() or "/" in target or target.lower().endswith(WEIGHTS)


def parse_entry(text: str, *, network: str | None = None) -> Entry:
    """``"MODEL"``, ``"CKPT"``, or ``"NAME=..."`` of either to name the row.

    Args:
        text: the word on the command line.
        network: see ``Entry``.

    Example:
        >>> parse_entry("plain=i3d_r50").target
        'i3d_r50'
    """
    name, sign, target = text.partition("=")
    if sign and not Path(text).is_file():
        return Entry(target, name, network=network)
    return Entry(text, network=network)


def row_names(entries: Sequence[Entry]) -> list[str]:
    """Unique names of entries: their own, the network's, or the end of the checkpoint's path."""
    names = [entry.name or _short(entry.target) for entry in entries]
    for depth in (2, 3, 4, 5):
        twice = {name for name in names if names.count(name) > 1}
        names = [
            _short(entry.target, depth) if name in twice and not entry.name else name
            for name, entry in zip(names, entries, strict=True)
        ]
    return distinct(names, "{} ({})")


def distinct(names: Iterable[str], form: str) -> list[str]:
    """The names, with a number from 2 on where one is taken.

    Args:
        names: of anything.
        form: of a name and its number.
    """
    found: list[str] = []
    for name in names:
        ways = chain([name], (form.format(name, number) for number in count(2)))
        found.append(next(way for way in ways if way not in found))
    return found


def _short(target: str, depth: int = 1) -> str:
    return (
        Path(*Path(target).parts[-depth:]).as_posix()
        if Path(target).exists() or target.endswith(WEIGHTS)
        else target
    )


@dataclass
class Contestant:
    """The network of an entry, ready to be counted, timed and tested.

    Attributes:
        model: the network, on the CPU or the device.
        model_name: of ``create_model``.
        clip_shape: (3, T, H, W) of one view.
        views: (clips, crops) per video.
        predictor: classifies files; None for random weights.
    """

    model: nn.Module
    model_name: str
    clip_shape: tuple[int, int, int, int]
    views: tuple[int, int]
    predictor: Predictor | None

    @property
    def sampling(self) -> str:
        """How frames are sampled from a video, such as ``"stride 5"``; "" for random weights."""
        if self.predictor is None:
            return ""
        return self.predictor.preprocessing.shown_steps


def make_contestant(
    entry: Entry,
    *,
    clip: tuple[int, int] | None,
    views: tuple[int, int] | None,
    num_classes: int,
    device: torch.device,
) -> Contestant:
    """Make the network of an entry.

    Args:
        entry: what to make.
        clip: (frames, size) for a network by name; None, and for a checkpoint: its own.
        views: (clips, crops); None: those by which it was validated or published.
        num_classes: for a network by name.
        device: where to put it.

    Raises:
        VideoNLError: an unknown name, with the nearest ones; a bad checkpoint.
    """
    if not entry.is_checkpoint:
        model = create_model(entry.target, num_classes=num_classes, **entry.options).to(device)
        shown = Preprocessing.from_dict(model.preprocessing)  # type: ignore[arg-type]
        shown = under_protocol(shown, entry.protocol) if entry.protocol else shown
        shown = shown.with_views(views)
        shape = shown.view_shape if clip is None else (clip[0], clip[1], clip[1])
        return Contestant(model.eval(), entry.target, (3, *shape), shown.views, None)
    if entry.options:
        raise VideoNLError(f"{entry.target}: options are for networks by name, not for checkpoints")
    # The faster decoder, since the files of a data set are trusted.
    # Not fused, like networks by name, so that both are timed alike.
    predictor = Predictor.from_checkpoint(
        entry.target,
        device=device,
        decoder="auto",
        network=entry.network,
        options={"protocol": entry.protocol},
        fuse=False,
    )
    shown = predictor.preprocessing.with_views(views)
    name = str(predictor.about["name"])
    return Contestant(predictor.model, name, (3, *shown.view_shape), shown.views, predictor)


def equally_dear(
    entries: Sequence[Entry],
    *,
    clip: tuple[int, ...] | None,
    num_classes: int,
    options: Mapping[str, Any] | None = None,
) -> tuple[list[Entry], dict[str, int]]:
    """Widen networks without non-local blocks until they cost as much as the dearest one with.

    A network that already costs as much is not changed.

    Args:
        entries: of networks by name.
        clip: (frames, size) or (frames, height, width) that the cost is counted at; None: the one
            each was made for.
        num_classes: of the classifiers.
        options: of every network; those of an entry win.

    Returns:
        (the entries, the width of each that was widened by its row's name).

    Raises:
        VideoNLError: no network with blocks, none without, or one without the option width.
    """

    def macs(entry: Entry, **more: int) -> tuple[int, bool]:
        all_of_it = {**(options or {}), **entry.options, **more}
        own = designed_clip(entry.target, options=all_of_it)
        shape = own if clip is None else (3, clip[0], clip[1], clip[-1])
        cost = count_cost(entry.target, shape, num_classes=num_classes, options=all_of_it)
        return cost.macs, bool(cost.blocks)

    named = [(entry, *macs(entry)) for entry in entries if not entry.is_checkpoint]
    dear = max((cost for _, cost, blocks in named if blocks), default=0)
    plain = [(entry, cost) for entry, cost, blocks in named if not blocks]
    if not dear or not plain:
        raise VideoNLError(
            "--equal-cost needs networks by name with and without non-local blocks; give at least "
            "one of each"
        )
    names = dict(zip(map(id, entries), row_names(entries), strict=True))
    wide: dict[int, Entry] = {}
    widths: dict[str, int] = {}
    for entry, cost in plain:
        if cost >= dear:
            continue
        known = find_entry(entry.target).options
        if known is not None and "width" not in known:
            raise VideoNLError(f"--equal-cost: {entry.target} has no option 'width' to widen it by")
        low, high = 1, 2
        while macs(entry, width=high)[0] < dear:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if macs(entry, width=middle)[0] < dear else (low, middle)
        width = min((low, high), key=lambda w: abs(macs(entry, width=w)[0] - dear))
        name = names[id(entry)]
        wide[id(entry)] = replace(entry, name=name, options={**entry.options, "width": width})
        widths[name] = width
    return [wide.get(id(entry), entry) for entry in entries], widths


def match_classes(own: Sequence[str], wanted: Sequence[str], *, source: str, data: str) -> None:
    """Refuse a checkpoint whose classes are not those of the data set, apart from spelling.

    Raises:
        CheckpointError: names both counts and the first classes that differ.
    """
    ours, theirs = ClassNumbers(own), ClassNumbers(wanted)
    missing = [name for name in wanted if name not in ours]
    extra = [name for name in own if name not in theirs]
    if missing or extra:
        known = counted(len(own), "class")
        parts = [f"{source} knows {known}, the data set {data} has {len(wanted)}"]
        parts += [f"only the checkpoint knows {few(list(map(repr, extra)), 3)}"] if extra else []
        parts += [f"only the data set has {few(list(map(repr, missing)), 3)}"] if missing else []
        raise CheckpointError(
            "; ".join(parts) + "; give a data set with the classes that it was trained for"
        )
