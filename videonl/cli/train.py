"""``videonl train`` = ``train.py``: fit, validate, test, predict."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videonl.claims import claimed, is_first_process
from videonl.cli.train_errors import clear_errors
from videonl.cli.train_evaluate import test_command
from videonl.cli.train_help import PAGES, USAGE
from videonl.cli.train_predict import predict_command
from videonl.cli.train_settings import (
    choose_rest,
    config_text,
    first_look,
    fitting_data,
    read_settings,
    take_lists,
    with_lists,
)
from videonl.errors import VideoNLError
from videonl.files import ended_by_signals

if TYPE_CHECKING:  # torch and Lightning take seconds to import: not for --help
    from videonl.data.datamodule import VideoDataModule
    from videonl.training.classifier import VideoClassifier
    from videonl.training.fitting import FitResult

LAST_WORD = 3.0  # seconds that a process of several leaves the first one to say what is wrong


def main(argv: Sequence[str]) -> int:
    """Run a command; the exit code is 0, or 128 + the signal that stopped a training."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if argv else 2
    command, *rest = argv
    if command not in PAGES:
        near = get_close_matches(command, PAGES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it is one of {', '.join(PAGES)}"
        raise VideoNLError(f"unknown command {command!r}; {hint}")
    if "--help" in rest or "-h" in rest:
        print(PAGES[command])
        return 0
    if "--help_all" in rest:
        from videonl.cli.train_parser import make_parser

        make_parser(command).print_help()
        return 0
    with speaking_once(), ended_by_signals():
        return COMMANDS[command](command, rest)


@contextmanager
def speaking_once() -> Iterator[None]:
    """Of several processes the first prints; another's error comes late, if it is the only one."""
    if is_first_process():
        yield
        return
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            yield
    except VideoNLError:
        time.sleep(LAST_WORD)  # where the first says the same, the launcher ends this process now
        raise


def fit_command(command: str, argv: Sequence[str]) -> int:
    """Train, or with ``--dry-run`` say how it would be done."""
    argv = ["--dry_run" if word == "--dry-run" else word for word in argv]
    settings, given = read_settings(command, argv)
    from lightning.pytorch import seed_everything

    from videonl.cli.train_parser import trainer_options
    from videonl.training.runs import check_name, resume_path, run_name
    from videonl.training.trainer import leaves_nothing

    seed_everything(settings["seed"], verbose=False)
    wanted, out = settings["resume"] or settings["ckpt_path"], Path(settings["out"])
    data, chosen = None, []
    if settings["config"] is None and wanted in (None, "auto"):
        data = first_look(settings)
        chosen = choose_rest(settings, given, data)
    name = settings["name"]
    if name is None:
        name = run_name(settings["model"]["name"], settings["data"]["root"])
    resume = resume_path(wanted, out=out, name=check_name(name)) if wanted else None
    if wanted == "auto" and resume is None:
        print(f"no run of the name {name} in {out} yet: starting one")
    elif data and resume:  # as that run was begun, whatever the data would be given today
        settings, given = read_settings(command, [*argv, "--resume", str(resume)])
        data, chosen = None, []
    settings["name"] = name
    options = trainer_options(settings["trainer"])
    writes = is_first_process() and not (leaves_nothing(options) or settings["dry_run"])
    with ExitStack() as stack:
        if resume and writes:
            stack.enter_context(claimed(folder=resume.parent))
        if resume:
            take_lists(settings, resume.parent)
        module, classifier = build(settings, given, resume, data=data)
        if settings["dry_run"]:
            return show_plan(classifier, module, options, chosen)
        return train(
            settings, classifier, module, options, resume=resume, chosen=chosen, writes=writes
        )


def train(
    settings: dict[str, Any],
    classifier: "VideoClassifier",
    data: "VideoDataModule",
    options: dict[str, Any],
    *,
    resume: Path | None,
    chosen: Sequence[str],
    writes: bool,
) -> int:
    """The training itself; returns the exit code.

    Args:
        settings: all of them, resolved.
        classifier: that learns.
        data: its videos.
        options: of the Trainer.
        resume: a checkpoint to go on from.
        chosen: what to say of settings that nobody gave.
        writes: whether this process writes a run.
    """
    from videonl.training import fit, plan_lines
    from videonl.training.run_header import facts
    from videonl.training.runs import new_run
    from videonl.training.stopping import TrainingStopped

    run_dir = (
        resume.parent if resume else new_run(Path(settings["out"]), settings["name"], make=writes)
    )
    with ExitStack() as stack:
        stack.callback(remove_if_empty, run_dir)
        stack.enter_context(clear_errors(settings, run_dir=run_dir))
        try:
            result = fit(
                classifier,
                data,
                run_dir=run_dir,
                seed=settings["seed"],
                resume=resume,
                save_every_minutes=settings["save_every_minutes"],
                save_every_steps=settings["save_every_steps"],
                config=config_text(with_lists(settings, run_dir, made=data.made_split), data),
                trainer_options=options,
                announce=facts if resume else partial(plan_lines, chosen=chosen),
            )
        except TrainingStopped as stop:
            if is_first_process():
                print(f"train.py: {stop}", file=sys.stderr)
            return stop.exit_code
    if result.reports:
        print_result(result)
    return 0


def show_plan(
    classifier: "VideoClassifier",
    data: "VideoDataModule",
    options: dict[str, Any],
    chosen: Sequence[str],
) -> int:
    """Print what would be done; nothing is written and nothing stays learned."""
    from videonl.training import make_trainer, plan_lines

    trainer = make_trainer({**options, "logger": False, "enable_checkpointing": False})
    if trainer.is_global_zero:
        print(*plan_lines(classifier, data, trainer, chosen=chosen), sep="\n")
    return 0


def remove_if_empty(folder: Path) -> None:
    """A training that could not start leaves no folder."""
    with suppress(OSError):
        folder.rmdir()
        folder.parent.rmdir()


def print_result(result: "FitResult") -> None:
    """How well it went, and where everything lies."""
    from videonl.shares import accuracy, percent
    from videonl.training.summary import optimistic

    if result.signs:
        print(f"learning  {result.signs}")
    if result.best is not None and result.best_score is not None:
        shown = accuracy if result.metric == "top1" else percent
        metric = {"top1": "top-1", "map": "mAP"}[result.metric]
        chosen = optimistic(result.epochs, result.videos)
        print(
            f"best      val {metric} {shown(result.best_score, result.videos)}"
            f"{f' ({chosen})' if chosen else ''}: {result.best}"
        )
        print(f"next      python train.py test --checkpoint {result.run_dir} --data.root DIR")
    else:
        print(f"last      {result.last} (no validation, so there is no best)")


def build(
    settings: dict[str, Any],
    given: dict[str, Any],
    resume: Path | None,
    *,
    data: "VideoDataModule | None" = None,
) -> tuple["VideoDataModule", "VideoClassifier"]:
    """The data module and the classifier; each tells the other what nobody has said.

    A training that goes on takes its network from the checkpoint: the published weights that it
    once started from may be gone.

    Args:
        settings: all of them; what is resolved here is noted there.
        given: those that somebody gave.
        resume: a checkpoint to go on from.
        data: of ``first_look``, where that was had already.
    """
    from lightning.pytorch.utilities import rank_zero_only

    from videonl.training.classes import balanced_weights
    from videonl.training.classifier import VideoClassifier
    from videonl.training.runs import network_settings

    data = data or first_look(settings)
    weights = None
    if settings["recipe"]["class_weights"] == "balanced":
        weights = balanced_weights(list(data.census["train"].values()))
    model = settings["model"]
    if model["multi_label"] is None:
        model["multi_label"] = data.multi_label
    if resume:
        model = network_settings(resume, model, chosen="model.name" in given)
    classifier = VideoClassifier(
        **model,
        num_classes=data.num_classes,
        class_names=data.class_names,
        recipe=settings["recipe"],
        class_weights=weights,
        data_split=data.catalogue.official,
    )
    report = getattr(classifier.net, "load_report", None)
    if report is not None:
        rank_zero_only(print)(report)
    data = fitting_data(settings, given, classifier.preprocessing)
    classifier.set_preprocessing(data.preprocessing)
    data.preprocessing = classifier.preprocessing
    return data, classifier


COMMANDS = {
    "fit": fit_command,
    "validate": test_command,
    "test": test_command,
    "predict": predict_command,
}
