"""What a non-local block looks at: one query position, and its weights over the video (Figure 3).

    found = attend(Predictor.from_checkpoint("model.ckpt"), "clip.mp4", at=(3, 120, 200))
    print(found.strongest[0])       # the key of the largest weight: seconds and pixels of the file

One row of the N x M matrix is computed at a time, never the matrix.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from videonl.attention.clip import AttendedClip, outside, read_attended
from videonl.attention.geometry import Lattice, trace_blocks
from videonl.attention.map import (
    AttentionMap,
    place_of,
    shares_of,
    spread_of,
    strongest_of,
)
from videonl.errors import VideoError, VideoNLError
from videonl.inference.predictor import Predictor
from videonl.layers import NonLocalBlock, affinity_name
from videonl.layers.attention_row import attention_rows, reachable
from videonl.models.finite import check_answers
from videonl.models.view_ensembling import probabilities_of
from videonl.video.given import Given, name_of
from videonl.video.transforms import to_clips

GRID = (4, 6, 6)  # queries tried along time, height and width where none is given
STRONGEST = 20  # arrows of the paper's Figure 3


@dataclass(frozen=True)
class Seen:
    """What a block got from one clip.

    Attributes:
        name: of the block, without ``.non_local``.
        block: the module.
        features: (1, C, T', H', W'), its input.
        queries: where the features lie in the clip.
    """

    name: str
    block: NonLocalBlock
    features: Tensor
    queries: Lattice

    @property
    def keys(self) -> Lattice:
        """Where the keys lie."""
        return self.queries.pooled(self.block.pool_kernel)


def attend(
    predictor: Predictor,
    video: Given,
    *,
    fps: float | None = None,
    block: str | None = None,
    at: Sequence[float] | None = None,
    clip: int | None = None,
    start: float | None = None,
    crop: str = "centre",
    strongest: int = STRONGEST,
) -> AttentionMap:
    """The weights of one query of one block over a clip of a video.

    Args:
        predictor: a network with a non-local block.
        video: a path, or what else ``Predictor.predict`` takes.
        fps: frames per second of frames in memory.
        block: its name, such as ``"res4.5"``; the last one by default.
        at: the query as (t, y, x): number of the frame in the clip, from 0, and pixel of the
            file's picture as it is shown (after rotation). The position of the features nearest
            to it is taken. None: the query of the lowest entropy among a fixed grid.
        clip: 0 to 9, one of the ten clips of a test; the one in the middle by default.
        start: seconds at which the clip starts instead.
        crop: "centre", or one of a test's three: "first", "middle", "last".
        strongest: how many keys to list.

    Raises:
        VideoError: the file can not be read.
        VideoNLError: no such block, clip or place; names what there is.
        NotFiniteError: the network answers with NaN or infinity.
    """
    name = find_block(predictor.model, block)
    with predictor.opened(video, fps=fps) as opened:
        shown = predictor.shown(opened)
        read = read_attended(opened, shown, clip=clip, start=start, crop=crop)
    problem = None if at is None else outside(read, at)
    if at is not None and problem:
        given = ",".join(f"{number:g}" for number in at)
        raise VideoNLError(f"{name_of(video)}: --at {given}: {problem}")
    seen, probabilities = look(predictor, read, [name])
    found = seen[0]
    if at is None:
        index, chosen = most_certain(found)
    else:
        index, chosen = found.queries.nearest((at[0], *read.to_view(at[1], at[2]))), "given by --at"
    row = next(attention_rows(found.block, found.features, [index]))[0].float().cpu()
    if not bool(row.isfinite().all()):
        raise VideoError(f"{name_of(video)}: the weights of {name} are not finite")
    check_answers(probabilities)
    inside = reachable(found.block, found.features, index).cpu()
    query = place_of(read, found.queries, index)
    top = probabilities.sort(descending=True, stable=True)
    return AttentionMap(
        path=name_of(video),
        block=found.name,
        affinity=affinity_name(found.block.affinity),
        clip=read,
        keys=found.keys,
        weights=row,
        reachable=inside,
        query=query,
        chosen=chosen,
        strongest=strongest_of(read, found.keys, row, strongest),
        spread=spread_of(read, found.keys, row, inside, query),
        classes=tuple(
            (predictor.class_names[int(i)], float(p))
            for i, p in zip(top.indices[:5], top.values[:5], strict=True)
        ),
        model=predictor.about,
    )


def block_names(model: nn.Module) -> list[str]:
    """Names of the non-local blocks, without ``.non_local``, in the order of the forward pass."""
    return [
        name.removesuffix(".non_local")
        for name, module in model.named_modules()
        if isinstance(module, NonLocalBlock)
    ]


def find_block(model: nn.Module, name: str | None) -> str:
    """The block of that name, or the last one.

    Raises:
        VideoNLError: the network has none, or none of that name; lists those there are.
    """
    names = block_names(model)
    if not names:
        known = getattr(model, "config", {}).get("name", type(model).__name__)
        raise VideoNLError(
            f"the network {known} has no non-local block, so there is no attention to show"
        )
    if name is None:
        return names[-1]
    if name.removesuffix(".non_local") not in names:
        raise VideoNLError(f"--block {name}: the network has {', '.join(names)}")
    return name.removesuffix(".non_local")


@torch.no_grad()
def look(
    predictor: Predictor, clip: AttendedClip, names: Sequence[str]
) -> tuple[list[Seen], Tensor]:
    """Run the network once on a clip.

    Returns:
        What each of the blocks ``names`` got, and the probabilities (K,) of this clip, on the CPU.

    Raises:
        VideoNLError: a block of a kind whose positions can not be mapped back.
    """
    lattices = trace_blocks(predictor.model, clip.view.shape[:3])
    by_name = {name.removesuffix(".non_local"): value for name, value in lattices.items()}
    twin = sharing_copy(predictor.model)
    inputs: dict[str, Tensor] = {}
    blocks = {}
    for full, module in twin.named_modules():
        name = full.removesuffix(".non_local")
        if isinstance(module, NonLocalBlock) and name in names:
            blocks[name] = module
            module.register_forward_pre_hook(
                lambda _, args, name=name: inputs.__setitem__(name, args[0].detach())
            )
    mean, std = predictor.preprocessing.colours
    logits = twin(to_clips(clip.view[None].to(predictor.device), mean=mean, std=std))[0]
    missing = [name for name in names if name not in inputs or name not in by_name]
    if missing:
        raise VideoNLError(f"the clip does not pass through the block {missing[0]}")
    seen = [Seen(name, blocks[name], inputs[name], by_name[name]) for name in names]
    return seen, probabilities_of(logits, multi_label=predictor.multi_label).cpu()


def sharing_copy(model: nn.Module) -> nn.Module:
    """A copy with the same tensors: hooks on it do not disturb whoever else uses the network."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def most_certain(seen: Seen) -> tuple[tuple[int, int, int], str]:
    """The query of the lowest entropy among a grid spread over the clip, and that rule in words.

    Every query of the grid is the middle of one of ``GRID`` equal boxes; of equal ones the first
    is taken. The entropy is relative to that of equal weights, over |w| / Σ|w|.
    """
    shape = seen.queries.shape
    counts = [min(n, most) for n, most in zip(shape, GRID, strict=True)]
    lines = [
        [(2 * i + 1) * n // (2 * count) for i in range(count)]
        for n, count in zip(shape, counts, strict=True)
    ]
    grid = [(t, y, x) for t in lines[0] for y in lines[1] for x in lines[2]]
    best, lowest = grid[0], float("inf")
    rows = attention_rows(seen.block, seen.features, grid)
    for index, row in zip(grid, rows, strict=True):
        inside = reachable(seen.block, seen.features, index)
        entropy = float(torch.special.entr(shares_of(row[0], inside)).sum())
        if bool((row != 0).any()) and entropy < lowest - 1e-9:
            best, lowest = index, entropy
    rule = (
        f"the query of the lowest entropy among a grid of {len(grid)} "
        f"({counts[0]} times x {counts[1]} rows x {counts[2]} columns)"
    )
    return best, rule
