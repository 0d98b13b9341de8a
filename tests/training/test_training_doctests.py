"""The examples in the docstrings of this room."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import videonl.training

MODULES = sorted(p.stem for p in Path(videonl.training.__file__).parent.glob("*.py"))
MODULES = [f"videonl.training.{name}" for name in MODULES if name != "__init__"]


@pytest.mark.parametrize("name", [*MODULES, "videonl.cli.train.parser", "videonl.cli.values"])
def test_examples(name: str) -> None:
    assert doctest.testmod(import_module(name)).failed == 0
