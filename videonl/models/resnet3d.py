"""The ResNet3D family: C2D, I3D and SlowOnly, with or without non-local blocks.

Read top to bottom: the stem, the residual block, the network. Norms, head, the places of inflation
and non-local blocks (``placement``) and the published graphs (``presets``) are in other modules.
Two networks differ in values: ``inflation`` is where time is convolved, ``non_local`` where the
non-local blocks are, ``preset`` is the published graph.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from videonl.kernels.convolution import ClipConv3d
from videonl.layers import NonLocalBlock, insert_non_local
from videonl.models.norms import norm_factory
from videonl.models.placement import (
    STAGES,
    Inflation,
    block_inflation,
    check_stages,
    non_local_places,
    stage_blocks,
)
from videonl.models.presets import Preset, Triple, resolve, triple

HEAD_AVERAGES = ("logits", "probabilities", "sigmoids")


class Head(nn.Module):
    """Average pool, dropout, linear classifier, and the average over cells where there are many."""

    def __init__(self, channels: int, num_classes: int, dropout: float, graph: Preset) -> None:
        super().__init__()
        if graph.head_pool not in ("global", "sliding"):
            raise ValueError(f"head_pool is {graph.head_pool!r}; it must be global or sliding")
        if graph.head_average not in HEAD_AVERAGES:
            raise ValueError(
                f"head_average is {graph.head_average!r}; it must be one of "
                f"{', '.join(HEAD_AVERAGES)}"
            )
        self.pool, self.window, self.average = (
            graph.head_pool,
            tuple(graph.head_window),
            graph.head_average,
        )
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(channels, num_classes)

    def cells(self, features: Tensor) -> Tensor:
        """Logits of every cell: (B, C, T, H, W) -> (B, K, 1, H', W'), one cell when global."""
        if self.pool == "global":
            pooled = features.mean((2, 3, 4), keepdim=True)
        else:
            window = [min(w, s) for w, s in zip(self.window, features.shape[3:], strict=True)]
            # Time first, by itself: an exported graph may then get any number of frames.
            pooled = F.avg_pool3d(features.mean(2, keepdim=True), (1, *window), stride=1)
        return self.projection(self.dropout(pooled.movedim(1, -1))).movedim(-1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K) of features (B, C, T, H, W).

        The published networks that average probabilities over cells return, for several cells,
        the logarithm of that average, so that softmax(logits) is the published probability; those
        that average sigmoids the value whose sigmoid is that average.
        """
        cells = self.cells(features).flatten(2)  # (B, K, cells)
        if self.average == "logits" or cells.shape[2] == 1:
            return cells.mean(2)
        if self.average == "sigmoids":
            return F.logsigmoid(cells).logsumexp(2) - F.logsigmoid(-cells).logsumexp(2)
        return cells.log_softmax(1).logsumexp(2) - math.log(cells.shape[2])


EXPANSION = 4  # output channels of a bottleneck / its inner channels
NormFactory = Callable[[int], nn.Module]


def conv(inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int]) -> nn.Conv3d:
    """A convolution without bias that keeps the size, up to its stride."""
    padding = [k // 2 for k in kernel]
    return ClipConv3d(inputs, outputs, tuple(kernel), tuple(stride), tuple(padding), bias=False)  # type: ignore[arg-type]


class MaxPool3d(nn.Module):
    """Max pool whose kernel is cut to the clip, so that a clip may be shorter than the kernel."""

    def __init__(self, kernel: Triple, stride: Triple, padding: Triple) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (B, C, T, H, W); kernel and stride 1 return it as it is."""
        if max(self.kernel) == max(self.stride) == 1:
            return x
        sizes = zip(self.kernel, x.shape[2:], self.padding, strict=True)
        kernel = [min(k, size + 2 * padding) for k, size, padding in sizes]
        return F.max_pool3d(x, kernel, self.stride, self.padding)

    def extra_repr(self) -> str:
        """Kernel, stride and padding."""
        return f"kernel={self.kernel}, stride={self.stride}, padding={self.padding}"


class Stem(nn.Module):
    """The first convolution, norm, ReLU and max pool: (B, 3, T, H, W) -> (B, C, T', H/4, W/4)."""

    def __init__(self, inputs: int, width: int, kernel: Triple, graph: Preset) -> None:
        super().__init__()
        norm = norm_factory(graph.norm, graph.norm_eps)
        self.conv = conv(inputs, width, kernel, graph.stem_stride)
        self.norm = norm(width)
        self.pool = MaxPool3d(graph.pool1_kernel, graph.pool1_stride, graph.pool1_padding)

    def forward(self, x: Tensor) -> Tensor:
        """Run the stem."""
        return self.pool(F.relu(self.norm(self.conv(x)), inplace=True))


class Shortcut(nn.Module):
    """The projection of a stage's first shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: NormFactory) -> None:
        super().__init__()
        self.conv = conv(inputs, outputs, (1, 1, 1), (1, stride, stride))
        self.norm = norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Project ``x`` to the channels and size of the residual branch."""
        return self.norm(self.conv(x))


class ResidualBlock(nn.Module):
    """A bottleneck: t×1×1, t×3×3 (with the stage's stride), 1×1×1, plus the shortcut."""

    def __init__(
        self, inputs: int, inner: int, *, stride: int, extents: tuple[int, int], norm: NormFactory
    ) -> None:
        super().__init__()
        outputs = inner * EXPANSION
        self.conv_a = conv(inputs, inner, (extents[0], 1, 1), (1, 1, 1))
        self.norm_a = norm(inner)
        self.conv_b = conv(inner, inner, (extents[1], 3, 3), (1, stride, stride))
        self.norm_b = norm(inner)
        self.conv_c = conv(inner, outputs, (1, 1, 1), (1, 1, 1))
        self.norm_c = norm(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = Shortcut(inputs, outputs, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, T, H, W) -> (B, 4 · inner, T, H/stride, W/stride)."""
        y = F.relu(self.norm_a(self.conv_a(x)), inplace=True)
        y = F.relu(self.norm_b(self.conv_b(y)), inplace=True)
        y = self.norm_c(self.conv_c(y))
        y += self.shortcut(x)  # in place: these are the largest maps of the network
        return F.relu(y, inplace=True)


class ResNet3D(nn.Module):
    """A residual network over clips, (B, 3, T, H, W) -> (B, num_classes), any clip size.

    Options that are None are taken from ``preset``; triples are (T, H, W).

    Args:
        num_classes: K.
        depth: 50, 101 or 152.
        layers: residual blocks per stage instead of ``depth``; one to four stages.
        width: channels of the stem; 64 is the paper's.
        strides: spatial stride of each stage.
        preset: a row of ``videonl.models.presets.PRESETS``.
        inflation: where time is convolved, see ``block_inflation``.
        stem_kernel: default 5×7×7 where the paper's pattern is inflated, else 1×7×7.
        non_local: stage -> indices of the residual blocks that a non-local block follows,
            ``{"res3": (1, 3), "res4": (1, 3, 5)}`` is the paper's 5-block ResNet-50.
        non_local_options: options of ``NonLocalBlock``, added to the preset's.
        dropout: probability, before the classifier.
        zero_init_residual: start every residual branch at zero (scale of norm_c).
        preprocessing: entries to change in the preset's.
        stem_stride, pool1_kernel, pool1_stride, pool1_padding, pool2_kernel, norm, norm_eps,
            head_pool, head_window, head_average, non_local_groups: see ``Preset``.

    Raises:
        ValueError: for a value that is not one of the above.
    """

    def __init__(
        self,
        num_classes: int = 400,
        *,
        depth: int = 50,
        layers: Sequence[int] | None = None,
        width: int = 64,
        strides: Sequence[int] = (1, 2, 2, 2),
        in_channels: int = 3,
        preset: str = "pytorchvideo",
        inflation: Inflation = "none",
        stem_kernel: Sequence[int] | None = None,
        stem_stride: Sequence[int] | None = None,
        pool1_kernel: Sequence[int] | None = None,
        pool1_stride: Sequence[int] | None = None,
        pool1_padding: Sequence[int] | None = None,
        pool2_kernel: Sequence[int] | None = None,
        norm: str | None = None,
        norm_eps: float | None = None,
        head_pool: str | None = None,
        head_window: Sequence[int] | None = None,
        head_average: str | None = None,
        non_local: Mapping[str, Sequence[int]] | None = None,
        non_local_options: Mapping[str, Any] | None = None,
        non_local_groups: Mapping[str, int] | None = None,
        dropout: float = 0.5,
        zero_init_residual: bool = True,
        preprocessing: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {}  # name, num_classes, options: filled in by create_model
        given = {
            "stem_stride": stem_stride,
            "pool1_kernel": pool1_kernel,
            "pool1_stride": pool1_stride,
            "pool1_padding": pool1_padding,
            "pool2_kernel": pool2_kernel,
            "norm": norm,
            "norm_eps": norm_eps,
            "head_pool": head_pool,
            "head_window": head_window,
            "head_average": head_average,
            "non_local_groups": non_local_groups,
        }
        graph = resolve(preset, given, non_local_options, preprocessing)
        blocks = stage_blocks(depth, layers)
        if stem_kernel is None:
            stem_kernel = (5, 7, 7) if inflation in ("3x1x1", "3x3x3") else (1, 7, 7)
        self.preprocessing = graph.preprocessing.to_dict()
        self.stem = Stem(in_channels, width, triple("stem_kernel", stem_kernel), graph)
        self.pool2 = MaxPool3d(graph.pool2_kernel, graph.pool2_kernel, (0, 0, 0))
        self.stages = STAGES[: len(blocks)]
        if len(strides) < len(blocks):
            raise ValueError(f"strides is {list(strides)}; it must have one per stage")
        channels = width
        for index, stage in enumerate(self.stages):
            inner = width * 2**index
            extents = [block_inflation(inflation, stage, block) for block in range(blocks[index])]
            self.add_module(stage, make_stage(channels, inner, strides[index], extents, graph))
            channels = inner * EXPANSION
        self.head = Head(channels, num_classes, dropout, graph)
        initialise(self, zero_init_residual=zero_init_residual)
        add_non_local(self, non_local or {}, graph)

    def forward_features(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) -> the last feature map (B, C, T', H', W')."""
        x = self.stem(x)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
            if stage == "res2":
                x = self.pool2(x)
        return x

    def forward_head(self, features: Tensor) -> Tensor:
        """The last feature map (B, C, T', H', W') -> logits (B, K)."""
        return self.head(features)

    def forward(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) -> logits (B, K)."""
        return self.forward_head(self.forward_features(x))

    def forward_cells(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) -> logits of every cell of the head (B, K, 1, H', W')."""
        return self.head.cells(self.forward_features(x))

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier by a fresh one for ``num_classes`` classes."""
        old = self.head.projection
        new = nn.Linear(old.in_features, num_classes, device=old.weight.device)
        initialise(new, zero_init_residual=False)
        self.head.projection = new.to(old.weight.dtype)
        self.config = {**self.config, "num_classes": num_classes}


def make_stage(
    inputs: int, inner: int, stride: int, extents: Sequence[tuple[int, int]], graph: Preset
) -> nn.Sequential:
    """The residual blocks of one stage.

    Args:
        inputs: channels that the first block gets.
        inner: channels within the bottlenecks.
        stride: of the first block, in space.
        extents: of every block, see ``block_inflation``.
        graph: has the norm.
    """
    norm = norm_factory(graph.norm, graph.norm_eps)
    stage = nn.Sequential()
    for extent in extents:
        stage.append(ResidualBlock(inputs, inner, stride=stride, extents=extent, norm=norm))
        inputs, stride = inner * EXPANSION, 1
    return stage


def add_non_local(net: ResNet3D, non_local: Mapping[str, Sequence[int]], graph: Preset) -> None:
    """Put the non-local blocks after the residual blocks that ``non_local`` names.

    Raises:
        ValueError: an unknown place or an option that ``NonLocalBlock`` does not have.
    """
    options = dict(graph.non_local_options)
    allowed = signature(NonLocalBlock).parameters.keys() - {"in_channels", "dim"}
    for name in options.keys() - allowed:
        raise ValueError(f"non_local_options has no {name!r}; it has {', '.join(sorted(allowed))}")
    check_stages("non_local_groups", graph.non_local_groups)
    if options.get("norm") in ("frozen", "affine"):
        options["norm"] = norm_factory(options["norm"], graph.norm_eps)
    blocks = {stage: len(net.get_submodule(stage)) for stage in net.stages}  # type: ignore[arg-type]
    inserted = {}
    for stage, block in non_local_places(non_local, blocks):
        inserted[f"{stage}.{block}"] = {
            "in_channels": net.get_submodule(f"{stage}.{block}.conv_c").out_channels,
            "dim": 3,
            "temporal_groups": graph.non_local_groups.get(stage, 1),
            **options,
        }
    insert_non_local(net, inserted)


def initialise(module: nn.Module, *, zero_init_residual: bool) -> None:
    """The released code's initial weights: MSRA, classifier N(0, 0.01), last norms at zero."""
    for child in module.modules():
        if isinstance(child, nn.Conv3d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)
        elif isinstance(child, nn.Linear):
            nn.init.normal_(child.weight, std=0.01)
            nn.init.zeros_(child.bias)
        elif isinstance(child, ResidualBlock) and zero_init_residual:
            scale = child.norm_c.weight
            if scale.requires_grad:  # a frozen zero would stay one
                nn.init.zeros_(scale)  # type: ignore[arg-type]
