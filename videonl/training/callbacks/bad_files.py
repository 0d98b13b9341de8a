"""Videos that could not be read are counted, and each is reported once."""

# ruff: noqa: ARG002 (the hooks' signatures are Lightning's)

import sys
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from videonl.data.records import check_still_there
from videonl.escapes import visible
from videonl.shares import counted
from videonl.training.metrics import of_all

SHOWN = 5
Failure = tuple[str, str]  # path, reason


class BatchByBatch(Callback):
    """Looks at every batch of a validation, test or prediction when it is done."""

    def see(self, outputs: Any, batch: Any) -> None:
        """Look at a batch.

        Args:
            outputs: of the step.
            batch: of the loader.
        """

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Look at it."""
        self.see(outputs, batch)

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end


class BadFiles(BatchByBatch):
    """Collects the files that a data set could not read.

    In training another video took such a file's place; in evaluation it counts as wrong.

    Args:
        root: the data set's folder.

    Attributes:
        replaced: path -> reason, of the training so far on this process.
        missing: likewise, of the last evaluation, over all processes once it has ended.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self.replaced: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self._told = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Collect the replaced files."""
        for path, reason in batch.get("replaced", ()):
            self.replaced.setdefault(path, reason)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the files that failed for the first time in this epoch."""
        new = list(self.replaced.items())[self._told :]
        self._told = len(self.replaced)
        if new:
            pl_module.print(describe(new, "cannot be read; others were used instead"))

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start afresh."""
        self.missing = {}

    def see(self, outputs: Any, batch: Any) -> None:
        """Collect the missing files.

        Raises:
            DatasetError: the folder of the data is gone.
        """
        for _, path, reason in batch.get("missing", ()):
            self.missing[path] = reason
        if batch.get("missing"):
            check_still_there(self._root)  # not one bad video, but all

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the missing files."""
        self.missing = {path: why for part in of_all(self.missing) for path, why in part.items()}
        if self.missing and not trainer.sanity_checking:
            text = "cannot be read and count as wrong"
            pl_module.print(describe(list(self.missing.items()), text))

    on_test_epoch_start = on_validation_epoch_start
    on_test_epoch_end = on_validation_epoch_end

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the missing files."""
        if self.missing:
            text = describe(list(self.missing.items()), "cannot be read and are left out")
            print(text, file=sys.stderr)


def describe(files: list[Failure], what: str) -> str:
    """One sentence and the first files."""
    videos = counted(len(files), "video")
    lines = [f"warning: {videos} {what} (videonl check finds all such files):"]
    lines += [
        visible(f"  {reason}" if path in reason else f"  {path}: {reason}")
        for path, reason in files
    ]
    more = len(files) - SHOWN
    return "\n".join(lines[: SHOWN + 1] + ([f"  and {more} more"] if more > 0 else []))
