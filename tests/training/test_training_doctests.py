"""The examples in the docstrings of this room."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import videonl.training

ROOM = Path(videonl.training.__file__).parent
MODULES = [p.relative_to(ROOM).with_suffix("").parts for p in sorted(ROOM.rglob("*.py"))]
MODULES = [f"videonl.training.{'.'.join(parts)}" for parts in MODULES if parts[-1] != "__init__"]


@pytest.mark.parametrize("name", [*MODULES, "videonl.cli.train.parser", "videonl.cli.values"])
def test_examples(name: str) -> None:
    assert doctest.testmod(import_module(name)).failed == 0
