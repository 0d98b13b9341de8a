"""How far the blocks of a network look, over a data set: entropy and reach, per block."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import Any

import numpy as np

from videonl.attention.attention import block_names, find_block, look
from videonl.attention.clip import read_attended
from videonl.attention.map import Spread, place_of, spread_of
from videonl.data.catalogue import read_catalogue
from videonl.errors import DatasetError, VideoError
from videonl.inference.predictor import Predictor, short_reason
from videonl.layers import NonLocalBlock, affinity_name
from videonl.layers.attention_row import attention_rows, reachable
from videonl.models.finite import check_answers

MEASURES = {  # of Spread -> heading of the table
    "entropy": "entropy (nats)",
    "relative": "of even",
    "pixels": "reach (pixels)",
    "seconds": "reach (s)",
}


@dataclass
class Summary:
    """Spreads of every block, over videos and queries.

    Attributes:
        blocks: block -> its affinity.
        spreads: block -> one entry per query.
        videos: files that were looked at.
        failures: (file, reason) of those that could not be.
        about: data set, split, seed, queries, network.
    """

    blocks: dict[str, str]
    spreads: dict[str, list[Spread]]
    videos: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    def mean(self, block: str, measure: str) -> tuple[float, float]:
        """Mean and standard deviation over the queries of ``entropy``, ``relative`` and so on."""
        values = [getattr(spread, measure) for spread in self.spreads[block]]
        return fmean(values), pstdev(values)

    def as_dict(self) -> dict[str, Any]:
        """Primitives for JSON."""
        names = dict(zip(MEASURES, Spread(0, 0, 0, 0).as_dict(), strict=True))
        rows = {}
        for block, affinity in self.blocks.items():
            numbers = {names[measure]: self.mean(block, measure) for measure in MEASURES}
            rows[block] = {
                "affinity": affinity,
                **{name: {"mean": mean, "sd": sd} for name, (mean, sd) in numbers.items()},
            }
        failures = [{"path": path, "error": error} for path, error in self.failures]
        return {**self.about, "videos": self.videos, "blocks": rows, "failures": failures}


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
    on_video: Callable[[int, int], object] | None = None,
) -> Summary:
    """Entropy and reach of random queries in the middle clip of a data set's videos.

    Args:
        predictor: a network with non-local blocks.
        root: the data set's folder.
        split: "train", "val" or "test".
        block: one block; all by default.
        videos: at most that many, drawn with ``seed``.
        queries: positions per video and block, drawn with ``seed`` and the place in the split.
        seed: of both.
        crop: see ``attend``.
        on_video: called with (videos done, videos in all), for a progress bar.

    Raises:
        DatasetError: no such data set or split, or none of its videos can be read.
        VideoNLError: the network has no such block.
    """
    find_block(predictor.model, block)
    names = block_names(predictor.model) if block is None else [find_block(predictor.model, block)]
    records = read_catalogue(root).records
    if not records.get(split):
        there = ", ".join(name for name, found in records.items() if found)
        raise DatasetError(f"{os.fspath(root)} has no videos for --split {split} (it has: {there})")
    paths = [record.path for record in records[split]]
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(paths))
    summary = Summary({}, {name: [] for name in names})
    chosen = sorted(order[:videos].tolist())
    for done, number in enumerate(chosen, 1):
        try:
            _add(summary, predictor, paths[number], names, queries, (seed, number), crop)
        except (VideoError, OSError) as error:
            summary.failures.append((paths[number], short_reason(error, paths[number])))
        if on_video:
            on_video(done, len(chosen))
    if not summary.videos:
        raise DatasetError(f"{os.fspath(root)}: no video of {split} can be read")
    summary.about = {
        "data": os.fspath(root),
        "split": split,
        "seed": seed,
        "queries_per_video": queries,
        "crop": crop,
        "model": predictor.about,
    }
    return summary


def _add(
    summary: Summary,
    predictor: Predictor,
    path: str,
    names: Sequence[str],
    queries: int,
    seed: tuple[int, int],
    crop: str,
) -> None:
    """Look at one video."""
    with predictor.open_video(path, decoder=predictor.decoder) as video:
        clip = read_attended(video, predictor.shown(video), crop=crop)
    seen, probabilities = look(predictor, clip, names)
    check_answers(probabilities)
    draw = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    for one in seen:
        block: NonLocalBlock = one.block
        summary.blocks[one.name] = affinity_name(block.affinity)
        count = int(np.prod(one.queries.shape))
        flat = np.sort(draw.choice(count, min(queries, count), replace=False))
        places = [np.unravel_index(i, one.queries.shape) for i in flat]
        indices = [(int(t), int(y), int(x)) for t, y, x in places]
        rows = attention_rows(block, one.features, indices)
        for index, row in zip(indices, rows, strict=True):
            check_answers(row)
            inside = reachable(block, one.features, index)
            query = place_of(clip, one.queries, index)
            summary.spreads[one.name].append(
                spread_of(clip, one.keys, row[0].float(), inside, query)
            )
    summary.videos += 1


def table(summary: Summary) -> str:
    """The summary as text: mean ± standard deviation over the queries."""
    rows = [["block", "affinity", *MEASURES.values()]]
    for block, affinity in summary.blocks.items():
        cells = []
        for measure in MEASURES:
            mean, spread = summary.mean(block, measure)
            factor, unit, digits = (100, " %", 0) if measure == "relative" else (1, "", 2)
            cells.append(f"{factor * mean:.{digits}f} ± {factor * spread:.{digits}f}{unit}")
        rows.append([block, affinity, *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    count = sum(map(len, summary.spreads.values())) // max(1, len(summary.spreads))
    lines.append(f"{count} queries in {summary.videos} videos, seed {summary.about['seed']}")
    return "\n".join(lines)
