"""Callbacks and loggers of somebody's own that fail, for the tests to name on a command line."""

import datetime
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger


class Failing(Callback):
    """Raises in one hook, from one epoch on."""

    def __init__(self, hook: str, epoch: int = 1) -> None:
        self.epoch, self.trainer = epoch, None
        setattr(self, hook, self._fail)

    def _fail(self, *hook: Any, **_: Any) -> dict[str, Any]:
        trainer = next((value for value in hook if isinstance(value, Trainer)), None)
        if trainer is None or trainer.current_epoch >= self.epoch:
            raise KeyError("of my own\ncallback")
        return {}


class Remembering(Callback):
    """Keeps a state that no safe reader takes."""

    def state_dict(self) -> dict[str, Any]:
        return {"when": datetime.datetime.now(), "path": [Path("a")]}


class Unreachable(Logger):
    """A server that is down, from one step on."""

    name, version = "unreachable", "0"

    def __init__(self, step: int = 0) -> None:
        super().__init__()
        self.step = step

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:  # noqa: ARG002
        if (step or 0) >= self.step:
            raise ConnectionError("http://127.0.0.1:9: connection refused")
