"""Plain networks to compare with, from PyTorchVideo and torchvision, under the same contract.

Both libraries are imported when a network is made (never their transforms), and no weights are
fetched. State-dict keys are the libraries' own. Any clip size is taken: torchvision's heads pool
over the whole feature map, PyTorchVideo's slide their window over a larger one and cut it to a
smaller one.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from videonl.models.presets import HALF_GREY, clip
from videonl.models.registry import register_model
from videonl.models.resnet3d import MaxPool3d, initialise
from videonl.video.preprocessing import Preprocessing
from videonl.video.protocols import FACEBOOK, TORCHVISION

# torchvision trained on 15 frames per second: every second frame of a 30-fps video.
SMALL_CLIP = Preprocessing(
    frames=16,
    stride=2,
    short_side=128,
    crop=112,
    mean=(0.43216, 0.394666, 0.37645),
    std=(0.22803, 0.22145, 0.216989),
    **TORCHVISION,
)


def library_factory(module: str, name: str) -> Callable[..., Any]:
    """A factory of another library, imported without its deprecation warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(import_module(module), name)


def any_size_pool(pool: nn.MaxPool3d) -> MaxPool3d:
    """The same max pool, with its kernel cut to clips that are shorter."""
    triples = (
        (value, value, value) if isinstance(value, int) else value
        for value in (pool.kernel_size, pool.stride, pool.padding)
    )
    return MaxPool3d(*triples)  # type: ignore[arg-type]


class SlidingAvgPool3d(nn.Module):
    """The average pool of a hub head: a window that slides, cut to maps that are smaller.

    On a larger map every place of the window is a cell that is classified; the head averages
    the cells afterwards, as the published networks do.
    """

    def __init__(self, kernel: Sequence[int]) -> None:
        super().__init__()
        self.kernel = tuple(kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (B, C, T, H, W) with stride 1."""
        window = [min(k, size) for k, size in zip(self.kernel, x.shape[2:], strict=True)]
        return F.avg_pool3d(x, window, stride=1)


class Baseline(nn.Module, ABC):
    """The interface that the networks of both libraries share.

    Args:
        classifier: path of the last layer, linear or a 1×1×1 convolution.
        preprocessing: the clips that the network was made for.
    """

    def __init__(self, *, classifier: str, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.classifier_path = classifier
        self.preprocessing = preprocessing.to_dict()
        self.config: dict[str, Any] = {}  # name, num_classes, options: filled in by create_model

    @abstractmethod
    def forward_features(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) -> the last feature map (B, C, T', H', W')."""

    @abstractmethod
    def forward_head(self, features: Tensor) -> Tensor:
        """The last feature map (B, C, T', H', W') -> logits (B, K)."""

    def forward(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) -> logits (B, K)."""
        return self.forward_head(self.forward_features(x))

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier by a fresh one for ``num_classes`` classes."""
        old = self.get_submodule(self.classifier_path)
        like = {"device": next(old.parameters()).device, "dtype": next(old.parameters()).dtype}
        new: nn.Module
        if isinstance(old, nn.Conv3d):
            new = nn.Conv3d(old.in_channels, num_classes, 1, **like)  # type: ignore[arg-type]
        else:
            new = nn.Linear(old.in_features, num_classes, **like)  # type: ignore[arg-type]
        initialise(new, zero_init_residual=False)
        parent, _, name = self.classifier_path.rpartition(".")
        setattr(self.get_submodule(parent), name, new)
        self.config = {**self.config, "num_classes": num_classes}


class PyTorchVideoBaseline(Baseline):
    """A network of PyTorchVideo's hub: a list of blocks, the last of which is the head."""

    def __init__(
        self, name: str, *, num_classes: int, dropout: float, preprocessing: Preprocessing
    ) -> None:
        factory = library_factory("pytorchvideo.models.hub", name)
        blocks = factory(pretrained=False, model_num_class=num_classes).blocks
        head = blocks[-1]
        head.activation = None  # X3D ends in a softmax; logits are wanted
        head.dropout = nn.Dropout(dropout)
        head.output_pool = nn.AdaptiveAvgPool3d(1)
        projected = hasattr(head.pool, "pre_conv")  # X3D pools between two convolutions
        holder = head.pool if projected else head
        holder.pool = SlidingAvgPool3d(holder.pool.kernel_size)
        super().__init__(classifier=f"blocks.{len(blocks) - 1}.proj", preprocessing=preprocessing)
        self.blocks: nn.ModuleList = blocks

    def forward_features(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) -> the last feature map (B, C, T', H', W')."""
        for block in self.blocks[:-1]:  # type: ignore[union-attr]
            x = block(x)
        return x

    def forward_head(self, features: Tensor) -> Tensor:
        """The last feature map (B, C, T', H', W') -> logits (B, K)."""
        return self.blocks[-1](features)


class TorchvisionBaseline(Baseline):
    """A network of ``torchvision.models.video``: children that run one after another."""

    def __init__(
        self,
        name: str,
        *,
        num_classes: int,
        dropout: float,
        preprocessing: Preprocessing,
        classifier: str = "fc",
    ) -> None:
        factory = library_factory("torchvision.models.video", name)
        net = factory(weights=None, num_classes=num_classes)
        super().__init__(classifier=classifier, preprocessing=preprocessing)
        self.dropout = dropout
        children = dict(net.named_children())
        self.trunk = tuple(list(children)[: list(children).index("avgpool")])
        for child in (*self.trunk, classifier.partition(".")[0]):
            self.add_module(child, children[child])
        for path, module in list(self.named_modules()):
            if isinstance(module, nn.MaxPool3d):  # S3D: take clips shorter than its kernels
                self.set_submodule(path, any_size_pool(module))

    def forward_features(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) -> the last feature map (B, C, T', H', W')."""
        for child in self.trunk:
            x = self.get_submodule(child)(x)
        return x

    def forward_head(self, features: Tensor) -> Tensor:
        """The last feature map (B, C, T', H', W') -> logits (B, K)."""
        pooled = F.dropout(features.mean((2, 3, 4), keepdim=True), self.dropout, self.training)
        layer = self.get_submodule(self.classifier_path)
        return layer(pooled.flatten(1) if isinstance(layer, nn.Linear) else pooled).flatten(1)


@register_model
def slow_r50(num_classes: int = 400, *, dropout: float = 0.5) -> nn.Module:
    """Slow ResNet-50, 8×8 (SlowFast's slow pathway), PyTorchVideo; 74.58 % on Kinetics-400."""
    return PyTorchVideoBaseline(
        "slow_r50",
        num_classes=num_classes,
        dropout=dropout,
        preprocessing=clip(8, 8, HALF_GREY, **FACEBOOK),
    )


@register_model
def r2plus1d_r50(num_classes: int = 400, *, dropout: float = 0.5) -> nn.Module:
    """R(2+1)D ResNet-50, 16×4, PyTorchVideo; 76.01 % on Kinetics-400."""
    return PyTorchVideoBaseline(
        "r2plus1d_r50",
        num_classes=num_classes,
        dropout=dropout,
        preprocessing=clip(16, 4, HALF_GREY, **FACEBOOK),
    )


@register_model
def csn_r101(num_classes: int = 400, *, dropout: float = 0.0) -> nn.Module:
    """Channel-separated ResNet-101, 32×2, PyTorchVideo; 77.00 % on Kinetics-400."""
    return PyTorchVideoBaseline(
        "csn_r101",
        num_classes=num_classes,
        dropout=dropout,
        preprocessing=clip(32, 2, HALF_GREY, **FACEBOOK),
    )


@register_model
def x3d_m(num_classes: int = 400, *, dropout: float = 0.5) -> nn.Module:
    """X3D-M, 16×5, PyTorchVideo; 75.94 % on Kinetics-400."""
    return PyTorchVideoBaseline(
        "x3d_m",
        num_classes=num_classes,
        dropout=dropout,
        preprocessing=clip(16, 5, HALF_GREY, **FACEBOOK),
    )


@register_model
def r3d_18(num_classes: int = 400, *, dropout: float = 0.0) -> nn.Module:
    """3-D ResNet-18, 16×112², torchvision; 63.2 % on Kinetics-400."""
    return TorchvisionBaseline(
        "r3d_18", num_classes=num_classes, dropout=dropout, preprocessing=SMALL_CLIP
    )


@register_model
def mc3_18(num_classes: int = 400, *, dropout: float = 0.0) -> nn.Module:
    """ResNet-18, 3-D below and 2-D above, 16×112², torchvision; 63.96 % on Kinetics-400."""
    return TorchvisionBaseline(
        "mc3_18", num_classes=num_classes, dropout=dropout, preprocessing=SMALL_CLIP
    )


@register_model
def r2plus1d_18(num_classes: int = 400, *, dropout: float = 0.0) -> nn.Module:
    """R(2+1)D ResNet-18, 16×112², torchvision; 67.46 % on Kinetics-400."""
    return TorchvisionBaseline(
        "r2plus1d_18", num_classes=num_classes, dropout=dropout, preprocessing=SMALL_CLIP
    )


@register_model
def s3d(num_classes: int = 400, *, dropout: float = 0.2) -> nn.Module:
    """Separable 3-D Inception, torchvision; 68.37 % on Kinetics-400."""
    return TorchvisionBaseline(
        "s3d",
        num_classes=num_classes,
        dropout=dropout,
        preprocessing=SMALL_CLIP.changed(short_side=256, crop=224),
        classifier="classifier.1",
    )
