"""The published networks, written down operation by operation in plain torch.

``make_state`` gives random weights in a peer's own keys, ``forward`` what the peer's code computes
with them; nothing here is videonl's. All are bottleneck ResNets whose stages stride in space at
the 3x3 convolution, and whose non-local blocks follow a residual block's last ReLU. What differs
is one row of ``PEERS``.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

LAYERS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
FIVE = {3: (1, 3), 4: (1, 3, 5)}
EVERY_SECOND = {2: "333", 3: "3131", 4: "31" * 12, 5: "131"}  # extent in time of every first conv
FLAT = {2: "111", 3: "1111", 4: "1" * 23, 5: "111"}
SLOW = {**FLAT, 4: "3" * 23, 5: "333"}
Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Peer:
    """One published network.

    Attributes:
        name: (part, stage, block) -> the peer's prefix of that part's keys.
        inflated: stage -> extents in time of the first convolutions of its blocks.
        places: stage -> residual blocks that a non-local block follows.
        stem: extent in time of the first convolution, and its stride.
        pool1: stride in time and padding in space of the 1x3x3 max pool.
        pool2: whether a 2x1x1 max pool follows res2.
        form: softmax or dot.
        scaled: whether the softmax scales by 1/sqrt(inner channels).
        pooled: where the keys are pooled: before or after phi and g, or never.
        out_bias: whether the output projection has a bias.
        window: side of the head's sliding mean; 0 for the mean of everything.
        probabilities: whether the cells of a large frame are averaged after the softmax.
        flat: weights of four dimensions, of images.
        depth: 50 or 101 layers.
        tied: (part of a key, copy): tensors that are saved twice.
    """

    name: Callable[[str, int, int], str]
    inflated: Mapping[int, str]
    places: Mapping[int, tuple[int, ...]]
    stem: tuple[int, int] = (5, 1)
    pool1: tuple[int, int] = (1, 1)
    pool2: bool = True
    form: str = "softmax"
    scaled: bool = True
    pooled: str = "before"
    out_bias: bool = True
    window: int = 0
    probabilities: bool = False
    flat: bool = False
    depth: int = 50
    tied: tuple[tuple[str, str], ...] = ()


def pyslowfast_name(part: str, stage: int, block: int) -> str:
    kind, _, which = part.partition(".")
    if kind == "stem":
        return f"s1.pathway0_stem.{'conv' if which == 'conv' else 'bn'}"
    if kind == "head":
        return "head.projection"
    if kind == "nl":
        return f"s{stage}.pathway0_nonlocal{block}." + (
            "bn" if which == "norm" else f"conv_{which}"
        )
    place = f"s{stage}.pathway0_res{block}."
    if which == "shortcut":
        return place + ("branch1" if kind == "conv" else "branch1_bn")
    return place + f"branch2.{which}" + ("" if kind == "conv" else "_bn")


def pytorchvideo_name(part: str, stage: int, block: int, *, stages: tuple[int, ...]) -> str:
    kind, _, which = part.partition(".")
    if kind == "stem":
        return f"blocks.0.{which}"
    if kind == "head":
        return f"blocks.{stages[-1] + 1}.proj"
    branch = f"branch1_{kind}" if which == "shortcut" else f"branch2.{kind}_{which}"
    return f"blocks.{stages[stage - 2]}.res_blocks.{block}.{branch}"


def mmaction2_name(part: str, stage: int, block: int) -> str:
    kind, _, which = part.partition(".")
    if kind == "head":
        return "cls_head.fc_cls"
    if kind == "stem":
        return f"backbone.conv1.{'conv' if which == 'conv' else 'bn'}"
    place = f"backbone.layer{stage - 1}.{block}."
    if kind == "nl":
        return place + "non_local_block." + NL_OF_MMCV[which]
    module = "downsample" if which == "shortcut" else f"conv{'abc'.index(which) + 1}"
    return place + module + (".conv" if kind == "conv" else ".bn")


NL_OF_MMCV = {
    "theta": "theta.conv",
    "phi": "phi.0.conv",
    "g": "g.0.conv",
    "out": "conv_out.conv",
    "norm": "conv_out.bn",
}


def gluoncv_name(part: str, stage: int, block: int) -> str:
    kind, _, which = part.partition(".")
    if kind == "head":
        return "fc"
    if kind == "stem":
        return f"first_stage.{0 if which == 'conv' else 1}"
    place = f"res_layers.{stage - 2}.{block}."
    if kind == "nl":
        return place + "nonlocal_block." + {"out": "W", "norm": "bn"}.get(which, which)
    if which == "shortcut":
        return place + f"downsample.{0 if kind == 'conv' else 1}"
    return place + ("conv" if kind == "conv" else "bn") + str("abc".index(which) + 1)


def in_blocks(*stages: int) -> Callable[[str, int, int], str]:
    return lambda *place: pytorchvideo_name(*place, stages=stages)


TWICE = (
    ("fc.", "head.1."),
    (".nonlocal_block.W.", ".nonlocal_block.W_bn.0."),
    (".nonlocal_block.bn.", ".nonlocal_block.W_bn.1."),
)
# The windows are those of 64 x 64 pixels: 7 x 7 at 224, where these networks were trained.
PYSLOWFAST = Peer(pyslowfast_name, inflated=EVERY_SECOND, places=FIVE, window=2, probabilities=True)
PYTORCHVIDEO = Peer(in_blocks(1, 3, 4, 5), inflated=EVERY_SECOND, places={}, window=2)
MMACTION2 = Peer(
    mmaction2_name,
    stem=(5, 2),
    pool1=(2, 1),
    inflated=EVERY_SECOND,
    places=FIVE,
    scaled=False,
    pooled="after",
    out_bias=False,
)
GLUONCV = Peer(
    gluoncv_name,
    stem=(5, 2),
    pool1=(2, 1),
    inflated=EVERY_SECOND,
    places=FIVE,
    pooled="never",
    tied=TWICE,
)
FLAT_STEM = {"stem": (1, 1), "inflated": FLAT, "places": {}}
SLOW_STEM = {"stem": (1, 1), "inflated": SLOW, "pool1": (1, 1), "pool2": False}
PEERS = {
    "pyslowfast c2d": replace(PYSLOWFAST, **FLAT_STEM),
    "pyslowfast slow": replace(PYSLOWFAST, **SLOW_STEM, places={}),
    "pyslowfast i3d": replace(PYSLOWFAST, places={}),
    "pyslowfast i3d nln": PYSLOWFAST,
    "pytorchvideo c2d": replace(PYTORCHVIDEO, **FLAT_STEM),
    "pytorchvideo i3d": PYTORCHVIDEO,
    "pytorchvideo slow": replace(PYTORCHVIDEO, **SLOW_STEM, name=in_blocks(1, 2, 3, 4)),
    "mmaction2 i3d": replace(MMACTION2, places={}),
    "mmaction2 i3d embedded gaussian": MMACTION2,
    "mmaction2 i3d dot product": replace(MMACTION2, form="dot"),
    "mmaction2 slowonly": replace(
        MMACTION2, **SLOW_STEM, scaled=True, places={3: (0, 2), 4: (0, 2, 4)}
    ),
    "mmaction2 c2d": replace(MMACTION2, **FLAT_STEM, pool1=(1, 0), flat=True),
    "gluoncv nl0": replace(GLUONCV, places={}),
    "gluoncv nl5": GLUONCV,
    "gluoncv nl10": replace(GLUONCV, places={3: (0, 1, 2, 3), 4: (0, 1, 2, 3, 4, 5)}),
    "gluoncv r101 nl5": replace(GLUONCV, depth=101, places={3: (1, 3), 4: (6, 13, 20)}),
}


def parts(peer: Peer, width: int, classes: int) -> Iterator[tuple[str, int, int, tuple[int, ...]]]:
    """(part, stage, block, shape of its weight): every module with weights, in its order."""
    yield "stem.conv", 1, 0, (width, 3, peer.stem[0], 7, 7)
    yield "stem.norm", 1, 0, (width,)
    inside = width
    for stage, count in enumerate(LAYERS[peer.depth], start=2):
        inner = width * 2 ** (stage - 2)
        outside = 4 * inner
        for block in range(count):
            extent = int(peer.inflated[stage][block])
            if block == 0:
                yield "conv.shortcut", stage, block, (outside, inside, 1, 1, 1)
                yield "norm.shortcut", stage, block, (outside,)
            yield "conv.a", stage, block, (inner, inside, extent, 1, 1)
            yield "norm.a", stage, block, (inner,)
            yield "conv.b", stage, block, (inner, inner, 1, 3, 3)
            yield "norm.b", stage, block, (inner,)
            yield "conv.c", stage, block, (outside, inner, 1, 1, 1)
            yield "norm.c", stage, block, (outside,)
            inside = outside
            if block in peer.places.get(stage, ()):
                for part in ("theta", "phi", "g"):
                    yield f"nl.{part}", stage, block, (outside // 2, outside, 1, 1, 1)
                yield "nl.out", stage, block, (outside, outside // 2, 1, 1, 1)
                yield "nl.norm", stage, block, (outside,)
    yield "head", 0, 0, (classes, inside)


def make_state(peer: Peer, *, width: int = 4, classes: int = 7) -> dict[str, Tensor]:
    """Random weights by the peer's keys; every tensor depends on its own key alone."""
    state = {}
    for part, stage, block, shape in parts(peer, width, classes):
        name = peer.name(part, stage, block)
        made = make_norm(name, shape[0]) if len(shape) == 1 else {"weight": normal(name, *shape)}
        if part.startswith("nl.") and len(shape) > 1 and (part != "nl.out" or peer.out_bias):
            made["bias"] = 0.1 * normal(f"{name}.bias", shape[0])
        if part == "head":
            made["bias"] = 0.1 * normal(f"{name}.bias", shape[0])
        if len(shape) > 1:
            gain = 1.0 if part == "head" or part.startswith("nl.") else 2**0.5
            made["weight"] = made["weight"] * gain / (made["weight"][0].numel() ** 0.5)
            if part in ("nl.theta", "nl.phi"):
                made["weight"] = made["weight"] * (0.3 if peer.form == "dot" else 1.5)
        if peer.flat and len(shape) == 5:
            made["weight"] = made["weight"].squeeze(2)
        if part == "norm.c":  # the residual stream stays of order one
            made["weight"] = made["weight"] * 0.25
        state |= {f"{name}.{end}": value for end, value in made.items()}
    copies = {
        key.replace(original, copy): value
        for key, value in state.items()
        for original, copy in peer.tied
        if key.startswith(original) or (original.startswith(".") and original in key)
    }
    return {**state, **copies}


def normal(name: str, *shape: int) -> Tensor:
    """float32 numbers that depend on a name."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))


def make_norm(name: str, size: int) -> dict[str, Tensor]:
    """Scales and statistics far from those of a fresh norm."""
    return {
        "weight": 0.5 + 0.25 * normal(f"{name}.weight", size).abs(),
        "bias": 0.1 * normal(f"{name}.bias", size),
        "running_mean": 0.1 * normal(f"{name}.mean", size),
        "running_var": 0.5 + 0.5 * normal(f"{name}.var", size).abs(),
        "num_batches_tracked": torch.tensor(7),
    }


class Forward:
    """The computation of a peer with a state dict, in float64."""

    def __init__(self, peer: Peer, state: Mapping[str, Tensor], *, groups: int = 1) -> None:
        self.peer, self.groups = peer, groups
        self.state = {k: v.double() if v.is_floating_point() else v for k, v in state.items()}

    def conv(
        self, x: Tensor, part: str, stage: int, block: int, stride: Triple = (1, 1, 1)
    ) -> Tensor:
        name = self.peer.name(part, stage, block)
        weight = self.state[f"{name}.weight"]
        weight = weight[:, :, None] if weight.dim() == 4 else weight
        padding = [size // 2 for size in weight.shape[2:]]
        return F.conv3d(x, weight, self.state.get(f"{name}.bias"), stride, padding)

    def norm(self, x: Tensor, part: str, stage: int, block: int) -> Tensor:
        name = self.peer.name(part, stage, block)
        ends = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(self.state[f"{name}.{end}"] for end in ends), eps=1e-5)

    def non_local(self, x: Tensor, stage: int, block: int) -> Tensor:
        pooling = self.peer.pooled
        source = F.max_pool3d(x, (1, 2, 2)) if pooling == "before" else x
        theta = self.conv(x, "nl.theta", stage, block)
        phi, g = (self.conv(source, f"nl.{part}", stage, block) for part in ("phi", "g"))
        if pooling == "after":
            phi, g = F.max_pool3d(phi, (1, 2, 2)), F.max_pool3d(g, (1, 2, 2))
        theta, phi, g = theta.flatten(2), phi.flatten(2), g.flatten(2)
        products = theta.transpose(1, 2) @ phi
        if self.peer.form == "dot":
            weights = products / phi.shape[2]
        else:
            scale = theta.shape[1] ** -0.5 if self.peer.scaled else 1.0
            weights = (products * scale).softmax(-1)
        y = (g @ weights.transpose(1, 2)).reshape(len(x), -1, *x.shape[2:])
        return x + self.norm(self.conv(y, "nl.out", stage, block), "nl.norm", stage, block)

    def residual(self, x: Tensor, stage: int, block: int) -> Tensor:
        place = (stage, block)
        stride = (1, 2, 2) if stage > 2 and block == 0 else (1, 1, 1)
        y = F.relu(self.norm(self.conv(x, "conv.a", *place), "norm.a", *place))
        y = F.relu(self.norm(self.conv(y, "conv.b", *place, stride), "norm.b", *place))
        y = self.norm(self.conv(y, "conv.c", *place), "norm.c", *place)
        if block == 0:
            x = self.norm(self.conv(x, "conv.shortcut", *place, stride), "norm.shortcut", *place)
        return F.relu(x + y)

    def features(self, clip: Tensor) -> Tensor:
        peer = self.peer
        x = self.conv(clip.double(), "stem.conv", 1, 0, (peer.stem[1], 2, 2))
        x = F.relu(self.norm(x, "stem.norm", 1, 0))
        frames, padding = peer.pool1
        x = F.max_pool3d(x, (1, 3, 3), (frames, 2, 2), (0, padding, padding))
        for stage, count in enumerate(LAYERS[peer.depth], start=2):
            for block in range(count):
                x = self.residual(x, stage, block)
                if block in peer.places.get(stage, ()):
                    pieces = x.chunk(self.groups, 2) if stage == 3 else (x,)
                    x = torch.cat([self.non_local(piece, stage, block) for piece in pieces], 2)
            if stage == 2 and peer.pool2:
                x = F.max_pool3d(x, (2, 1, 1))
        return x

    def cells(self, clip: Tensor) -> Tensor:
        """Logits of every place of the head's window (B, cells, K); one place if it has none."""
        x, window = self.features(clip), self.peer.window
        size = (x.shape[2], window, window) if window else x.shape[2:]
        means = F.avg_pool3d(x, size, 1).flatten(2).transpose(1, 2)
        name = self.peer.name("head", 0, 0)
        return F.linear(means, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def __call__(self, clip: Tensor) -> Tensor:
        """Logits, or probabilities where the peer averages those (B, K)."""
        cells = self.cells(clip)
        return (cells.softmax(2) if self.peer.probabilities else cells).mean(1)
