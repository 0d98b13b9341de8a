"""Where the blocks of a network attend to over a data set, and what each contributes.

Where: entropy and reach of random queries, compared with the same network with random weights and
with equal weights. Contribution: how far the accuracy falls without the block.
"""

import copy
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import Any

import numpy as np
import torch

from videonl.attention.attention import block_names, find_block, look
from videonl.attention.clip import AttendedClip, read_attended
from videonl.attention.map import KINDS, Spread, place_of, spread_of
from videonl.attention.removal import WHOLE, Answers, Removal, accuracy_table, fall_words
from videonl.class_names import ClassNumbers
from videonl.data.catalogue import EvaluationSet, evaluation_set
from videonl.data.records import Record
from videonl.data.splits import unseen
from videonl.errors import DatasetError, VideoError
from videonl.escapes import visible
from videonl.inference.network import prepare_network
from videonl.inference.predictor import Predictor, short_reason
from videonl.layers import affinity_name
from videonl.layers.attention_row import attention_rows, reachable
from videonl.models.finite import check_answers
from videonl.models.registry import create_model
from videonl.shares import counted, percent
from videonl.video.views import Views, read_views

MEASURES = {  # of Spread -> its name in JSON
    "entropy": "entropy_nats",
    "relative": "entropy_relative",
    "largest": "largest_share",
    "pixels": "reach_pixels",
    "diagonals": "reach_of_diagonal",
    "seconds": "reach_seconds",
}
ALIKE = 0.02  # differences below this share of the largest entropy count as none
TRAINED, RANDOM, EQUAL = "trained", "random", "equal"


@dataclass
class Summary:
    """Spreads of every block over videos and queries, and the answers without each block.

    Attributes:
        blocks: block -> its affinity.
        spreads: (whose weights, block) -> one entry per query; whose is "trained", "random" (the
            same network with new weights) or "equal".
        answers: of the unchanged network and of those without a block.
        groups: what was removed: every block, and all of them.
        videos: number of files used.
        failures: (file, reason) of those that could not be read.
        notes: further sentences for the reader.
        about: data set, split, seed, queries, network.
    """

    blocks: dict[str, str] = field(default_factory=dict)
    spreads: dict[tuple[str, str], list[Spread]] = field(default_factory=dict)
    answers: Answers = field(default_factory=Answers)
    groups: list[str] = field(default_factory=list)
    videos: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    def mean(self, block: str, measure: str, *, whose: str = TRAINED) -> tuple[float, float]:
        """Mean and standard deviation over the queries of ``entropy``, ``relative`` and so on."""
        values = [getattr(spread, measure) for spread in self.spreads[whose, block]]
        return fmean(values), pstdev(values)

    def share_of(self, block: str, kind: str) -> float:
        """The share of the queries whose row is of a kind (``KINDS``)."""
        return fmean(spread.kind == kind for spread in self.spreads[TRAINED, block])

    def as_dict(self) -> dict[str, Any]:
        """Primitives for JSON."""
        failures = [{"path": path, "error": error} for path, error in self.failures]
        return {
            **self.about,
            "videos": self.videos,
            "notes": self.notes,
            "blocks": {block: self._block(block) for block in self.blocks},
            "whole": self.answers.as_dict(WHOLE),
            "removed": {name: self.answers.as_dict(("removed", name)) for name in self.groups},
            "replaced_by_mean": {
                name: self.answers.as_dict(("mean", name)) for name in self.groups
            },
            "answers": self._answers(),
            "failures": failures,
        }

    def _block(self, block: str) -> dict[str, Any]:
        found: dict[str, Any] = {"affinity": self.blocks[block]}
        for measure, name in MEASURES.items():
            mean, deviation = self.mean(block, measure)
            found[name] = {"mean": mean, "sd": deviation}
        found["rows"] = {kind: self.share_of(block, kind) for kind in KINDS}
        for whose in (RANDOM, EQUAL):
            found[f"{whose}_weights"] = {
                name: self.mean(block, measure, whose=whose)[0]
                for measure, name in MEASURES.items()
                if (whose, block) in self.spreads
            } or None
        return found

    def _answers(self) -> list[dict[str, Any]]:
        """Per video: the true class and the answer of every network."""
        found = []
        for path, truth in self.answers.truth.items():
            given = self.answers.given.get(path)
            entry: dict[str, Any] = {"path": path, "true_class": truth}
            if given:
                entry["whole"] = given[WHOLE][0]
                entry["removed"] = {name: given["removed", name][0] for name in self.groups}
                entry["replaced_by_mean"] = {name: given["mean", name][0] for name in self.groups}
            found.append(entry)
        return found


def summarise_attention(
    predictor: Predictor,
    root: str | os.PathLike[str],
    *,
    split: str = "val",
    block: str | None = None,
    videos: int = 100,
    queries: int = 32,
    seed: int = 0,
    crop: str = "centre",
    views: tuple[int, int] | None = None,
    on_video: Callable[[int, int], object] | None = None,
) -> Summary:
    """Measure where the blocks attend to in a data set, and the answers without them.

    Entropy and reach are those of random queries in the clip that ``attend`` uses; the answers are
    those of ``infer.py``. Every video is read twice, since the mean of what a block adds is known
    only after the first pass.

    Args:
        predictor: a network with non-local blocks.
        root: the data set's folder.
        split: "train", "val" or "test".
        block: one block; all by default.
        videos: at most that many, drawn with ``seed``.
        queries: positions per video and block, drawn with ``seed`` and the place in the split.
        seed: of videos, queries and random weights.
        crop: see ``attend``.
        views: (clips, crops) of the answers; None: as the network was validated.
        on_video: called with (videos read, those to be read in both passes), for a progress bar.

    Raises:
        DatasetError: no such data set or split, or none of its videos can be read.
        VideoNLError: the network has no such block.
    """
    found = find_block(predictor.model, block)  # raises where there is none
    names = block_names(predictor.model) if block is None else [found]
    predictor.preprocessing.with_views(views)  # raises for wrong ones before the first file
    summary = Summary()
    listed = _listed(evaluation_set(os.fspath(root), split), predictor, root, split, summary)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(listed))
    chosen = {number: listed[number] for number in sorted(order[:videos].tolist())}
    removal = Removal(predictor, names, views=views)
    summary.answers, summary.groups = removal.answers, removal.groups
    removal.answers.truth |= dict(chosen.values())
    looks = _Looks(summary, predictor, names, queries=queries, seed=seed, crop=crop)
    count = itertools.count(1)

    @contextmanager
    def attempt(path: str) -> Iterator[None]:
        try:
            yield
        except (VideoError, OSError) as error:
            removal.lose(path)
            summary.failures.append((path, short_reason(error, path)))
        if on_video:
            on_video(next(count), 2 * len(chosen))

    for number, (path, _) in chosen.items():
        with attempt(path):
            removal.first(path, looks.add(path, number, views))
    if not summary.videos:
        raise DatasetError(f"{os.fspath(root)}: no video of {split} can be read")
    removal.begin_means()
    for path in removal.answers.truth:
        with attempt(path):
            if path not in removal.answers.unread:
                removal.second(path, predictor.read(path, views=views))
    if unread := len(removal.answers.unread):
        words = (
            f"{unread} of {counted(len(chosen), 'video')} cannot be read, counted as wrong answers"
        )
        summary.notes.append(words)
    summary.about = {
        "data": os.fspath(root),
        "split": split,
        "seed": seed,
        "queries_per_video": queries,
        "crop": crop,
        "model": predictor.about,
        "protocol": predictor.protocol(views),
    }
    return summary


def _listed(
    found: EvaluationSet,
    predictor: Predictor,
    root: str | os.PathLike[str],
    split: str,
    summary: Summary,
) -> list[tuple[str, str | None]]:
    """(path, true class) of the videos of a split that the network was not trained on."""
    records = [*found.records, *found.missing]
    if split != "train":
        records, said = unseen(
            records, os.fspath(root), predictor.trained_videos, source="the network"
        )
        summary.notes += [said] if said else []
    truths = _truths(records, found.class_names, predictor)
    if not any(truths):
        summary.notes.append(
            "there is no accuracy: these videos have several classes"
            if predictor.multi_label or any(len(record.labels) > 1 for record in records)
            else "there is no accuracy: the network has none of these videos' classes"
        )
    return [(record.path, truth) for record, truth in zip(records, truths, strict=True)]


def _truths(
    records: Sequence[Record], names: Sequence[str], predictor: Predictor
) -> list[str | None]:
    """The class of every video in the network's spelling; None if it is not a class of it."""
    if predictor.multi_label or any(len(record.labels) > 1 for record in records):
        return [None] * len(records)
    number = ClassNumbers(predictor.class_names)
    known = [number.get(name) for name in names]
    places = [None if record.label is None else known[record.label] for record in records]
    return [None if place is None else predictor.class_names[place] for place in places]


class _Looks:
    """Measures the same queries with the network's weights, with random and with equal ones."""

    def __init__(
        self,
        summary: Summary,
        predictor: Predictor,
        names: Sequence[str],
        *,
        queries: int,
        seed: int,
        crop: str,
    ) -> None:
        self.summary, self.predictor, self.names = summary, predictor, names
        self.queries, self.seed, self.crop = queries, seed, crop
        self.random = untrained(predictor, seed=seed)
        if self.random is None or not set(names) <= set(block_names(self.random.model)):
            self.random = None
            summary.notes.append(
                "random weights are not compared: the network cannot be made again by its name"
            )

    def add(self, path: str, number: int, views: tuple[int, int] | None) -> Views:
        """Measure video ``number`` of the split; returns its views for the answers."""
        with self.predictor.open_video(path, decoder=self.predictor.decoder) as video:
            clip = read_attended(video, self.predictor.shown(video), crop=self.crop)
            read = read_views(video, self.predictor.shown(video, views))
        self._look(TRAINED, self.predictor, clip, number)
        if self.random is not None:
            self._look(RANDOM, self.random, clip, number)
        self.summary.videos += 1
        return read

    def _look(self, whose: str, predictor: Predictor, clip: AttendedClip, number: int) -> None:
        seen, logits = look(predictor, clip, self.names)
        if whose == TRAINED:
            check_answers(logits)
        draw = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.seed, number))))
        for one in seen:
            self.summary.blocks[one.name] = affinity_name(one.block.affinity)
            count = int(np.prod(one.queries.shape))
            flat = np.sort(draw.choice(count, min(self.queries, count), replace=False))
            places = [np.unravel_index(i, one.queries.shape) for i in flat]
            indices = [(int(t), int(y), int(x)) for t, y, x in places]
            rows = attention_rows(one.block, one.features, indices)
            for index, row in zip(indices, rows, strict=True):
                check_answers(row)
                inside = reachable(one.block, one.features, index)
                query = place_of(clip, one.queries, index)
                weights = {whose: row[0].float()}
                if whose == TRAINED:
                    weights[EQUAL] = inside.float()
                for key, values in weights.items():
                    spread = spread_of(clip, one.keys, values, inside, query)
                    self.summary.spreads.setdefault((key, one.name), []).append(spread)


def untrained(predictor: Predictor, *, seed: int) -> Predictor | None:
    """The same network with new random weights; None if it has no registered name."""
    config: Mapping[str, Any] | None = getattr(predictor.model, "config", None)
    if not config:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = create_model(
            config["name"], num_classes=config["num_classes"], **config["options"]
        )
    twin = copy.copy(predictor)
    twin.model = prepare_network(network, device=predictor.device, fuse=True)
    return twin


def table(summary: Summary) -> str:
    """The summary as text: two tables, then every block in words."""
    head = ["block", "affinity", "entropy (nats)", "of even", "random weights"]
    rows = [[*head, "reach (pixels)", "of diagonal", "reach (s)"]]
    for block, affinity in summary.blocks.items():
        entropy, relative, pixels, diagonals, seconds = (
            summary.mean(block, m)
            for m in ("entropy", "relative", "pixels", "diagonals", "seconds")
        )
        known = (RANDOM, block) in summary.spreads
        random = summary.mean(block, "relative", whose=RANDOM)[0] if known else None
        rows.append(
            [
                *(block, affinity, f"{entropy[0]:.2f} ± {entropy[1]:.2f}"),
                percent(relative[0], summary.videos, deviation=relative[1]),
                "-" if random is None else percent(random, summary.videos),
                f"{pixels[0]:.2f} ± {pixels[1]:.2f}",
                percent(diagonals[0], summary.videos),
                f"{seconds[0]:.2f} ± {seconds[1]:.2f}",
            ]
        )
    count = sum(map(len, summary.spreads.values())) // max(1, len(summary.spreads))
    queries = f"{counted(count, 'query')} in {counted(summary.videos, 'video')}"
    lines = [*_aligned(rows), f"{queries}, seed {summary.about['seed']}"]
    lines += ["", *_aligned(accuracy_table(summary.answers, summary.groups)), ""]
    lines += [words for block in summary.blocks for words in block_words(summary, block)]
    lines += [f"note: {visible(note)}" for note in summary.notes]
    return "\n".join(lines)


def block_words(summary: Summary, block: str) -> list[str]:
    """The figures of a block in sentences."""

    def mean(measure: str, whose: str = TRAINED) -> float:
        return summary.mean(block, measure, whose=whose)[0]

    def share(measure: str, whose: str = TRAINED) -> str:
        return percent(mean(measure, whose), summary.videos)

    lines = [
        f"{block} attends to places {mean('pixels'):.0f} pixels "
        f"({share('diagonals')} of the picture's diagonal) and {mean('seconds'):.2f} s "
        "away, on average; equal weights would reach "
        f"{mean('pixels', EQUAL):.0f} pixels and {mean('seconds', EQUAL):.2f} s.",
        f"  Its weights have {share('relative')} of the entropy of equal weights",
    ]
    if (RANDOM, block) in summary.spreads:
        more = mean("relative") - mean("relative", RANDOM)
        how = "more even than in" if more > 0 else "more selective than in"
        how = "as selective as in" if abs(more) <= ALIKE else how
        lines[-1] += f": {how} the same network with random weights ({share('relative', RANDOM)})"
    lines[-1] += "."
    for kind, words in KINDS.items():
        part = summary.share_of(block, kind)
        if part:
            lines.append(f"  {percent(part, summary.videos)} of its rows are {words}.")
    answers = summary.answers
    lines.append(f"  Without it (z = x) {fall_words(answers, ('removed', block))}.")
    lines.append(
        f"  Where it adds its mean over these videos {fall_words(answers, ('mean', block))}."
    )
    return lines


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells in columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
