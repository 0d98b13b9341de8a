"""Show predictions: a table per file, a progress bar, the failures at the end."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from videonl.escapes import visible
from videonl.inference.prediction import Failure, Prediction
from videonl.shares import counted, percent


def bar_console() -> Console:
    """The console of the progress bar, which must also print everything else on that terminal.

    It is standard output if that is a terminal, so that tables appear above the bar instead of
    within it; else standard error.
    """
    both = sys.stdout.isatty() and sys.stderr.isatty()
    return Console(stderr=not both, highlight=False)


class Tables:
    """A table per file: coloured on a terminal, plain text anywhere else.

    Args:
        console: the one of the progress bar.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._coloured = sys.stdout.isatty() and not console.stderr

    def add(self, prediction: Prediction) -> None:
        """Print the table of one file."""
        if self._coloured:
            self._console.print(Text(visible(prediction.path), style="bold"), soft_wrap=True)
            self._console.print(rich_table(prediction))
        else:
            print(plain_table(prediction), flush=True)

    def fail(self, failure: Failure) -> None:
        """Nothing: failures are listed at the end."""


class Labels:
    """Only the label, one line per file; empty if there is none.

    Args:
        named: put the file and a tab before it.
    """

    def __init__(self, *, named: bool = False) -> None:
        self.named = named

    def add(self, prediction: Prediction) -> None:
        """Print the label."""
        self._line(prediction.path, visible(prediction.label))

    def fail(self, failure: Failure) -> None:
        """Print a line without a label, so that lines and files correspond."""
        self._line(failure.path, "")

    def _line(self, path: str, label: str) -> None:
        print(f"{visible(path)}\t{label}" if self.named else label, flush=True)


class Nothing:
    """For output that goes to a file or to standard output as JSON."""

    def add(self, prediction: Prediction) -> None:
        """Print nothing."""

    def fail(self, failure: Failure) -> None:
        """Print nothing."""


View = Tables | Labels | Nothing  # how predictions are shown while they come in


def rich_table(prediction: Prediction) -> Table:
    """The classes of one file with a bar each."""
    table = Table()
    table.add_column("class", min_width=20)
    table.add_column("probability", justify="right")
    table.add_column("", width=20)
    for name, probability in zip(prediction.classes, prediction.probabilities, strict=True):
        bar = "█" * round(20 * probability)
        table.add_row(Text(visible(name)), percent(probability), f"[green]{bar}[/green]")
    return table


def plain_table(prediction: Prediction) -> str:
    """The same as text: the path, then one indented line per class."""
    names = [visible(name) for name in prediction.classes]
    width = max(map(len, names))
    lines = [visible(prediction.path)]
    for name, probability in zip(names, prediction.probabilities, strict=True):
        lines.append(f"  {name:<{width}}  {percent(probability):>7}")
    return "\n".join(lines)


class ProgressBar:
    """Files and time left on standard error, where that is a terminal.

    Args:
        files: how many there are.
        views: views per file; the time left is estimated from views.
        console: see ``bar_console``.
    """

    def __init__(self, *, files: int, views: int, console: Console) -> None:
        self._views = views
        self._done = 0
        self._progress = Progress(
            TextColumn("{task.fields[name]}"),
            BarColumn(),
            TextColumn("{task.fields[files]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            redirect_stdout=not console.stderr,  # else rich would take redirected text
            disable=not sys.stderr.isatty(),
        )
        self._files = files
        self._task = self._progress.add_task(
            "", total=files * views, name="classifying", files=f"0/{counted(files, 'file')}"
        )

    def __enter__(self) -> "ProgressBar":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def views(self, count: int) -> None:
        """Some views of the current file are done."""
        self._progress.advance(self._task, count)

    def frames(self, done: int, total: int) -> None:
        """Some frames of the current file's overlay are written."""
        self._progress.update(self._task, name=f"writing {done}/{counted(total, 'frame')}")

    def file(self) -> None:
        """A file is done, whether it succeeded or failed."""
        self._done += 1
        self._progress.update(
            self._task,
            completed=self._done * self._views,
            name="classifying",
            files=f"{self._done}/{counted(self._files, 'file')}",
        )


class StepBar:
    """The steps of a longer job and the time left, where standard error is a terminal."""

    def __init__(self) -> None:
        console = bar_console()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),  # it may be the name of a file
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            redirect_stdout=not console.stderr,
            disable=not sys.stderr.isatty(),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "StepBar":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def report(self, what: str, done: int, total: int) -> None:
        """Show the progress of a step."""
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(visible(what), total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)


def list_failures(failures: Sequence[Failure], *, total: int, what: str = "classified") -> str:
    """The failures as text for standard error."""
    lines = [f"{len(failures)} of {total} could not be {what}:"]
    lines += [f"  {visible(failure.path)}: {visible(failure.error)}" for failure in failures]
    return "\n".join(lines)
