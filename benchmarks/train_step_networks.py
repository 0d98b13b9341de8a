"""The networks that ``train_step.py`` measures, and one step of each."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import videonl
from videonl.models.norms import fuse_for_inference

CLASSES = 400
LIBRARIES = {"pytorchvideo": "pytorchvideo.models.hub", "torchvision": "torchvision.models.video"}
STAGES = {"1": "res2", "3": "res3", "4": "res4", "5": "res5"}  # of PyTorchVideo's I3D and C2D


@dataclass(frozen=True)
class Entry:
    """A network to measure.

    Attributes:
        library: videonl, pytorchvideo or torchvision.
        name: of the network there.
        layout: channels_last, or contiguous (what the peers' own documentation uses).
        implementation: of our non-local blocks.
    """

    library: str
    name: str
    layout: str = "channels_last"
    implementation: str = "auto"

    @property
    def title(self) -> str:
        """How the table calls it."""
        marks = [self.layout] if self.library != "videonl" else []
        if self.implementation != "auto":
            marks.append(f"{self.implementation} form")
        return " ".join([self.library, self.name, *(f"({mark})" for mark in marks)])


def make_network(entry: Entry) -> nn.Module:
    """The network with the same start for every entry of a name; dropout off, to compare losses."""
    torch.manual_seed(0)
    if entry.library == "videonl":
        options: dict[str, Any] = {"num_classes": CLASSES}
        if entry.implementation != "auto":
            options["non_local_options"] = {"implementation": entry.implementation}
        net = videonl.create_model(entry.name, **options)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from importlib import import_module

            factory = getattr(import_module(LIBRARIES[entry.library]), entry.name)
            net = factory(pretrained=False) if entry.library == "pytorchvideo" else factory()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


def in_layout(net: nn.Module, layout: str) -> nn.Module:
    """The same network with its weights in ``channels_last`` or ``contiguous``."""
    last = layout == "channels_last"
    memory_format = torch.channels_last_3d if last else torch.contiguous_format
    return net.to(memory_format=memory_format)  # type: ignore[call-overload]


def our_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """PyTorchVideo's weights of ``i3d_r50`` or ``c2d_r50`` under our names."""

    def word(key: str) -> str:
        _, block, rest = key.split(".", 2)
        if block == "0":
            return f"stem.{rest}"
        if block not in STAGES:
            return rest.replace("proj.", "head.projection.")
        rest = re.sub(r"res_blocks\.(\d+)\.branch2\.", r"\1.", rest)
        return f"{STAGES[block]}." + re.sub(
            r"res_blocks\.(\d+)\.branch1_(conv|norm)", r"\1.shortcut.\2", rest
        )

    return {word(key): value for key, value in state.items()}


def make_clip(setting: dict[str, Any], layout: str) -> tuple[Tensor, Tensor]:
    """(clips, labels) on the device, the same for all."""
    generator = torch.Generator().manual_seed(1)
    shape = (setting["batch"], 3, setting["frames"], setting["side"], setting["side"])
    clip = torch.randn(shape, generator=generator).to(setting["device"])
    label = torch.randint(CLASSES, shape[:1], generator=generator).to(setting["device"])
    last = layout == "channels_last"
    return clip.to(memory_format=torch.channels_last_3d) if last else clip, label


def autocast(setting: dict[str, Any]) -> torch.autocast:
    """bfloat16 where the setting says so, else nothing."""
    kind = torch.device(setting["device"]).type
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=setting["precision"] == "bf16")


def compiled(net: nn.Module, how: bool | str) -> nn.Module:
    """The network itself, compiled, or compiled in a mode such as ``reduce-overhead``."""
    if not how:
        return net
    mode = how if isinstance(how, str) else None
    made: nn.Module = torch.compile(net, dynamic=False, mode=mode)  # type: ignore[assignment]
    return made


def training_step(
    net: nn.Module, layout: str, setting: dict[str, Any], *, rate: float = 0.01
) -> Callable[[], Tensor]:
    """A whole step: gradients cleared, forward, loss, backward, fused SGD; returns the loss."""
    net = in_layout(net.to(setting["device"]), layout).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, fused=True)
    clip, label = make_clip(setting, layout)
    run = compiled(net, setting["compile"])

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with autocast(setting):
            loss = F.cross_entropy(run(clip).float(), label)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def inference_step(
    net: nn.Module, layout: str, setting: dict[str, Any], *, ours: bool
) -> Callable[[], Tensor]:
    """Logits in evaluation mode; our network as the ``Predictor`` uses it (norms folded)."""
    net = net.to(setting["device"]).eval()
    net = in_layout(fuse_for_inference(net) if ours else net, layout)
    clip, _ = make_clip(setting, layout)
    run = compiled(net, setting["compile"])

    def step() -> Tensor:
        with torch.inference_mode(), autocast(setting):
            return run(clip)

    return step
