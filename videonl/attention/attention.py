"""What a non-local block attends to: the weights of one query over the video (Figure 3).

    found = attend(Predictor.from_checkpoint("model.ckpt"), "clip.mp4", at=(3, 120, 200))
    print(found.strongest[0])       # the key of the largest weight: seconds and pixels of the file

One row of the N x M matrix is computed at a time, never the matrix.
"""

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from videonl.attention.clip import AttendedClip, outside, read_attended
from videonl.attention.geometry import Lattice, trace_blocks
from videonl.attention.map import AttentionMap, Moved, place_of, spread_of, strongest_of
from videonl.class_names import ClassNumbers
from videonl.data.records import SPLIT_FOLDERS
from videonl.errors import VideoError, VideoNLError
from videonl.escapes import visible
from videonl.inference.network import network_name
from videonl.inference.predictor import Predictor
from videonl.layers import NonLocalBlock, affinity_name
from videonl.layers.attention_row import attention_rows, reachable
from videonl.models.finite import check_answers
from videonl.models.view_ensembling import probabilities_of
from videonl.video.decoding.container import split_span
from videonl.video.given import Given, name_of
from videonl.video.transforms import to_clips

Change = Callable[[Tensor, Tensor], Tensor]
CANDIDATES = 16  # for the query: positions at which the replacement is made
STRONGEST = 20  # arrows of the paper's Figure 3


@dataclass(frozen=True)
class Seen:
    """The input of a block for one clip.

    Attributes:
        name: of the block, without ``.non_local``.
        block: the module.
        features: (1, C, T', H', W'), its input.
        queries: places of the features in the clip.
        worth: (T', H', W'): how much of the class's score is due to what the block adds at each
            position, if that was asked for; see :func:`most_moving`.
    """

    name: str
    block: NonLocalBlock
    features: Tensor
    queries: Lattice
    worth: Tensor | None = None

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
        video: a path, or anything that ``Predictor.predict`` takes.
        fps: frames per second of frames in memory.
        block: its name, such as ``"res4.5"``; the last one by default.
        at: the query as (t, y, x): number of the frame in the clip, from 0, and pixel of the
            file's picture as it is shown (after rotation). The position of the features nearest
            to it is used. None: the query that changes the score most, see :func:`most_moving`.
        clip: 0 to 9, one of the ten clips of a test; None: the clip of a test of one clip.
        start: seconds at which the clip starts instead.
        crop: "centre", or one of a test's three: "first", "middle", "last".
        strongest: how many keys to list.

    Raises:
        VideoError: the file cannot be read.
        VideoNLError: no such block, clip or place; says which exist.
        NotFiniteError: the network's output is NaN or infinite.
    """
    name = find_block(predictor.model, block)
    with predictor.opened(video, fps=fps) as opened:
        shown = predictor.shown(opened)
        read = read_attended(opened, shown, clip=clip, start=start, crop=crop)
    problem = None if at is None else outside(read, at)
    if at is not None and problem:
        given = ",".join(f"{number:g}" for number in at)
        raise VideoNLError(f"{name_of(video)}: --at {given}: {problem}")
    seen, logits = look(predictor, read, [name], worth=at is None)
    found, moved = seen[0], None
    if at is None:
        index, moved = most_moving(predictor, read, found, logits)
        chosen = _why(moved, adds=bool(found.worth is not None and found.worth.any()))
    else:
        index, chosen = found.queries.nearest((at[0], *read.to_view(at[1], at[2]))), "given by --at"
    row = next(attention_rows(found.block, found.features, [index]))[0].float().cpu()
    if not bool(row.isfinite().all()):
        raise VideoError(f"{name_of(video)}: the weights of {name} are not finite")
    probabilities = check_answers(probabilities_of(logits, multi_label=predictor.multi_label))
    inside = reachable(found.block, found.features, index).cpu()
    query = place_of(read, found.queries, index)
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
        classes=tuple(predictor.ranked(probabilities, 5)),
        model=predictor.about,
        truth=true_class(name_of(video), predictor.class_names),
        moved=moved,
    )


def true_class(path: str, names: Sequence[str]) -> str | None:
    """The class of a video by its folder, or by the folder below that of a split.

    Args:
        path: of the video; what is no file, such as frames in memory, has none.
        names: of the network's classes; the folder may be spelled a little differently.
    """
    file = split_span(path)[0]
    if not os.path.lexists(file):
        return None
    folders = Path(os.path.abspath(file)).parts[:-1]
    told = [folders[-1]]
    told += [folders[i + 1] for i in range(len(folders) - 1) if folders[i] in SPLIT_FOLDERS][-1:]
    number = ClassNumbers(names)
    found = (number.get(name) for name in told)
    return next((names[i] for i in found if i is not None), None)


def blocks_of(model: nn.Module) -> dict[str, NonLocalBlock]:
    """The non-local blocks by name, without ``.non_local``, in the order of the forward pass."""
    return {
        name.removesuffix(".non_local"): module
        for name, module in model.named_modules()
        if isinstance(module, NonLocalBlock)
    }


def block_names(model: nn.Module) -> list[str]:
    """The names of ``blocks_of``."""
    return list(blocks_of(model))


def find_block(model: nn.Module, name: str | None) -> str:
    """The block of that name, or the last one.

    Raises:
        VideoNLError: the network has none, or none of that name; lists those there are.
    """
    names = block_names(model)
    if not names:
        raise VideoNLError(
            f"the network {network_name(model)} has no non-local block, so there is no attention "
            "to show"
        )
    if name is None:
        return names[-1]
    if name.removesuffix(".non_local") not in names:
        raise VideoNLError(f"--block {name}: the network has {', '.join(names)}")
    return name.removesuffix(".non_local")


def look(
    predictor: Predictor, clip: AttendedClip, names: Sequence[str], *, worth: bool = False
) -> tuple[list[Seen], Tensor]:
    """Run the network once on a clip.

    Args:
        predictor: the network.
        clip: the clip.
        names: of the blocks to look at.
        worth: also compute how much each of their positions contributes (:func:`most_moving`), by
            backpropagation from the score to the first of the blocks.

    Returns:
        The input of each block, and the logits (K,) of this clip, on the CPU.

    Raises:
        VideoNLError: a block of a kind whose positions cannot be mapped back.
    """
    lattices = trace_blocks(predictor.model, clip.view.shape[:3])
    by_name = {name.removesuffix(".non_local"): value for name, value in lattices.items()}
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def note(name: str) -> Change:
        def noted(x: Tensor, z: Tensor) -> Tensor:
            inputs[name] = x.detach()
            if not worth:
                return z
            # Before the first block no gradient is needed; later code may work in place.
            outputs[name] = z if outputs else z.detach().requires_grad_()
            return outputs[name].clone()

        return noted

    twin = changed(predictor.model, {name: note(name) for name in names})
    with torch.set_grad_enabled(worth):
        logits = logits_of(predictor, twin, clip)
    missing = [name for name in names if name not in inputs or name not in by_name]
    if missing:
        raise VideoNLError(f"the clip does not pass through the block {missing[0]}")
    worths = _worths(logits, inputs, outputs) if worth else {}
    blocks = blocks_of(predictor.model)
    seen = [
        Seen(name, blocks[name], inputs[name], by_name[name], worths.get(name)) for name in names
    ]
    return seen, logits.detach().cpu()


def logits_of(predictor: Predictor, model: nn.Module, clip: AttendedClip) -> Tensor:
    """The logits (K,) of a clip by a changed network, on its device."""
    mean, std = predictor.preprocessing.colours
    logits: Tensor = model(to_clips(clip.view[None].to(predictor.device), mean=mean, std=std))[0]
    return logits


def _worths(
    logits: Tensor, inputs: dict[str, Tensor], outputs: dict[str, Tensor]
) -> dict[str, Tensor]:
    """⟨∂s/∂z_i, z_i - x_i⟩ of every position of every block, s the largest logit."""
    gradients = torch.autograd.grad(logits[logits.argmax()], list(outputs.values()))
    return {
        name: (gradient * (outputs[name].detach() - inputs[name])).sum(1)[0].float().cpu()
        for name, gradient in zip(outputs, gradients, strict=True)
    }


def changed(model: nn.Module, changes: Mapping[str, Change]) -> nn.Module:
    """A copy of a network, sharing its tensors, whose blocks return something else.

    The hooks are on the copy, so other users of the network do not notice them.

    Args:
        model: the network; stays as it is.
        changes: name of a block -> function of its input x and output z, both (B, C, T', H', W'),
            that returns the new output.
    """
    tensors = [*model.parameters(), *model.buffers()]
    twin = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    for name, block in blocks_of(twin).items():
        if name in changes:
            block.register_forward_hook(
                lambda _, given, output, change=changes[name]: change(given[0], output)
            )
    return twin


def most_moving(
    predictor: Predictor, clip: AttendedClip, seen: Seen, logits: Tensor
) -> tuple[tuple[int, int, int], Moved]:
    """The query that changes the class's score most, and by how much.

    The score s is the largest logit. What the block adds at a position i is W_z y_i = z_i - x_i;
    without it the score would change by

        s(z) - s(z with z_i replaced by x_i) ≈ ⟨∂s/∂z_i, z_i - x_i⟩.

    One backward pass gives this first-order term for all positions. At the ``CANDIDATES`` where it
    is largest the replacement is made, and the position that changes the score most is used; the
    middle one if the block adds nothing anywhere.

    ``seen`` is of ``look(..., worth=True)``, and so are the ``logits`` (K,).

    Raises:
        NotFiniteError: a gradient is NaN or infinite.
    """
    assert seen.worth is not None
    worth = check_answers(seen.worth)
    flat = [int(np.ravel_multi_index([n // 2 for n in worth.shape], tuple(worth.shape)))]
    if bool(worth.any()):
        order = worth.abs().flatten().sort(descending=True, stable=True).indices
        flat = order[:CANDIDATES].tolist()
    best: tuple[tuple[int, int, int], Moved] | None = None
    for number in flat:
        t, y, x = (int(i) for i in np.unravel_index(number, tuple(worth.shape)))
        moved = _replaced(predictor, clip, seen.name, (t, y, x), logits)
        if best is None or abs(moved.change) > abs(best[1].change):
            best = (t, y, x), moved
    assert best is not None
    return best


@torch.no_grad()
def _replaced(
    predictor: Predictor, clip: AttendedClip, name: str, index: tuple[int, int, int], logits: Tensor
) -> Moved:
    """The score with z_i = x_i at one position."""

    def without(x: Tensor, z: Tensor) -> Tensor:
        z, (t, row, column) = z.clone(), index
        z[..., t, row, column] = x[..., t, row, column]
        return z

    best = int(logits.argmax())
    other = logits_of(predictor, changed(predictor.model, {name: without}), clip)
    score = float(logits[best])
    return Moved(predictor.class_names[best], score, score - float(other[best]))


def _why(moved: Moved, *, adds: bool) -> str:
    """How the query was chosen, for the figure."""
    if not adds:
        return "the middle: the block adds nothing, so no position changes the score"
    verb = "raises" if moved.change > 0 else "lowers"
    return (
        f"the position that changes the score of {visible(moved.name)} most: what the block adds "
        f"there {verb} its logit of {moved.score:.2f} by {abs(moved.change):.2g}"
    )
