"""Entry points for ``torch.hub.load``: every registered network, by its name.

model = torch.hub.load("path/to/videonl", "i3d_r50_nl5", source="local", num_classes=10)
model = torch.hub.load(…, "i3d_r50_nl5", pretrained="official/i3d_nl_32x2")
"""

from collections.abc import Callable as _Callable
from typing import Any as _Any

from torch.nn import Module as _Module

from videonl.models import create_model as _create_model
from videonl.models import list_models as _list_models

dependencies = ["torch", "torchvision"]


def _entry(name: str) -> _Callable[..., _Module]:
    def entry(**options: _Any) -> _Module:
        return _create_model(name, **options)

    entry.__name__ = name
    entry.__doc__ = f"``videonl.create_model({name!r}, num_classes=…, pretrained=…, **options)``."
    return entry


globals().update({name: _entry(name) for name in _list_models()})
