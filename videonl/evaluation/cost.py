"""Parameters, MACs and FLOPs of a network, counted on the meta device: no weights, no arithmetic.

One MAC is one multiplication with its addition; FLOPs = 2 × MACs. Papers and model zoos print
MACs and call them FLOPs, so both are always given. Counted as MACs are convolutions, linear
layers and the products of the non-local blocks, as they are executed: a fast affinity costs less
than the N × M form that the paper writes, which ``Cost.paper_macs`` gives beside it.

Batch norm is kept apart, because the zoos disagree about it. torchvision, the paper's Table 2e
and PyTorchVideo's Slow count none; MMAction2 counts 2 operations per element (and, for I3D and
SlowOnly, at 256², not at the 224² that its tables state); PyTorchVideo's C2D, I3D, R(2+1)D and
CSN count 5, as in training. ``Cost.macs_with_norm`` gives the last two;
``tests/evaluation/test_cost_published.py`` holds every row.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import torch
from torch import nn

from videonl.errors import VideoNLError, first_line
from videonl.evaluation.counting import Counter, NonLocalCost
from videonl.models.registry import meta_copy, skeleton
from videonl.video.preprocessing import Preprocessing

# fvcore's operations per element: x · scale + shift in evaluation; with the mean and the
# variance in training.
NORM_OPERATIONS = {"eval": 2, "train": 5}


@dataclass(frozen=True)
class Cost:
    """What one view costs, and all views of a video.

    Attributes:
        name: the network.
        clip_shape: (C, T, H, W) of one view.
        views: views per video, clips × crops.
        params: parameters, frozen ones too.
        convolution_macs: of all convolutions and the projections of the non-local blocks.
        pairwise_macs: of the products between positions in the non-local blocks, as executed.
            A fast form that folds projections away is counted under projections first.
        linear_macs: of every other matrix product: the classifier.
        norm_elements: elements that pass through batch norm.
        blocks: the non-local blocks.
    """

    name: str
    clip_shape: tuple[int, ...]
    views: int
    params: int
    convolution_macs: int
    pairwise_macs: int
    linear_macs: int
    norm_elements: int
    blocks: tuple[NonLocalCost, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one view: convolution + pairwise + linear."""
        return self.convolution_macs + self.pairwise_macs + self.linear_macs

    @property
    def flops(self) -> int:
        """2 × ``macs``."""
        return 2 * self.macs

    @property
    def total_macs(self) -> int:
        """``macs`` of all views of a video."""
        return self.views * self.macs

    @property
    def total_flops(self) -> int:
        """2 × ``total_macs``."""
        return 2 * self.total_macs

    @property
    def non_local_macs(self) -> int:
        """Of the non-local blocks: projections and pairwise products, as executed."""
        return sum(block.macs for block in self.blocks)

    @property
    def paper_macs(self) -> int:
        """``macs``, were every block to build the N × M matrix as the paper writes it."""
        return self.macs + sum(block.paper_macs - block.macs for block in self.blocks)

    def macs_with_norm(self, mode: str) -> int:
        """``macs`` plus batch norm as fvcore counts it, in its mixed unit.

        Args:
            mode: ``"eval"``: 2 per element (PySlowFast's and MMAction2's tables), ``"train"``: 5
                (PyTorchVideo's C2D and I3D).
        """
        return self.macs + NORM_OPERATIONS[mode] * self.norm_elements

    def as_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        derived = ("macs", "flops", "total_macs", "total_flops", "non_local_macs", "paper_macs")
        of_block = ("projection_macs", "pairwise_macs", "paper_macs")
        blocks = [
            {**asdict(block), **{name: getattr(block, name) for name in of_block}}
            for block in self.blocks
        ]
        figures = {**asdict(self), **{name: getattr(self, name) for name in derived}}
        return {**figures, "blocks": blocks}


def count_cost(
    model: nn.Module | str,
    clip_shape: tuple[int, ...] = (3, 8, 224, 224),
    *,
    views: int | tuple[int, int] = 1,
    num_classes: int = 400,
    options: Mapping[str, Any] | None = None,
) -> Cost:
    """Count the cost of a network in evaluation mode on one clip, on the meta device.

    Args:
        model: a network, left as it is, or a name of ``create_model``.
        clip_shape: (C, T, H, W) of one view.
        views: per video, or (clips, crops).
        num_classes: of the classifier, where ``model`` is a name.
        options: of the network, where ``model`` is a name.

    Raises:
        VideoNLError: an unknown name or option; a clip that the network cannot take.

    Example:
        >>> cost = count_cost("i3d_r50_nl5", (3, 32, 224, 224),
        ...                   options={"preset": "official_32x2"})
        >>> f"{cost.params / 1e6:.2f} M, {cost.macs / 1e9:.1f} GMACs"
        '35.40 M, 41.0 GMACs'
    """
    name = model if isinstance(model, str) else type(model).__name__
    if isinstance(model, str):
        model = skeleton(model, num_classes=num_classes, **(options or {}))
    elif options:
        raise VideoNLError("options belong to a network that is given by name")
    twin, counter = meta_copy(model), Counter()
    counter.watch(twin)
    try:
        with torch.no_grad(), counter:
            twin(torch.empty((1, *clip_shape), device="meta"))
    except (RuntimeError, ValueError) as error:
        taken = f"{name} cannot take a clip of {tuple(clip_shape)}"
        raise VideoNLError(f"{taken}: {first_line(error)}") from error
    return Cost(
        name=name,
        clip_shape=clip_shape,
        views=views if isinstance(views, int) else prod(views),
        params=sum(parameter.numel() for parameter in model.parameters()),
        convolution_macs=counter.convolution_macs
        + sum(block.projection_macs for block in counter.blocks),
        pairwise_macs=sum(block.pairwise_macs for block in counter.blocks),
        linear_macs=counter.linear_macs,
        norm_elements=counter.norm_elements,
        blocks=tuple(counter.blocks),
    )


def designed_clip(
    name: str,
    *,
    options: Mapping[str, Any] | None = None,
    views: tuple[int, int] | None = (1, 1),
) -> tuple[int, ...]:
    """(3, T, H, W) of the views that a network was made for.

    Args:
        name: of ``create_model``.
        options: of the network.
        views: (clips, crops): three crops may be larger than one; None: those of its test.

    Raises:
        VideoNLError: an unknown name or option.
    """
    made: Any = skeleton(name, **(options or {})).preprocessing
    return (3, *Preprocessing.from_dict(made).with_views(views).view_shape)
