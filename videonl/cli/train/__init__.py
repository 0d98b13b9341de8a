"""``videonl train`` = ``train.py``: fit, validate, test, predict."""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videonl.claims import claimed, is_first_process
from videonl.cli.main import called
from videonl.cli.train.errors import clear_errors, named_by_options
from videonl.cli.train.evaluate import test_command
from videonl.cli.train.help import PAGES, USAGE
from videonl.cli.train.predict import predict_command
from videonl.cli.train.settings import (
    LISTS,
    choose_rest,
    config_text,
    first_look,
    fitting_data,
    read_settings,
    take_lists,
    with_lists,
)
from videonl.errors import VideoNLError
from videonl.escapes import as_word
from videonl.shares import accuracy, counted, percent

if TYPE_CHECKING:  # torch and Lightning take seconds to import: not for --help
    from videonl.data.datamodule import VideoDataModule
    from videonl.training import Choices
    from videonl.training.classifier import VideoClassifier
    from videonl.training.fitting import FitResult

# What says which videos there are, of which class.
OF_THE_SET = (*LISTS, "first_label", "official_split")
LAST_WORD = 3.0  # seconds that a process waits for the first one to print the same error


def main(argv: Sequence[str]) -> int:
    """Run a subcommand; the exit code is 0, or 128 + the signal that stopped a training."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(as_typed(USAGE))
        return 0 if argv else 2
    command, *rest = argv
    if command not in PAGES:
        near = get_close_matches(command, PAGES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it is one of {', '.join(PAGES)}"
        raise VideoNLError(f"unknown command {command!r}; {hint}")
    if "--help" in rest or "-h" in rest:
        print(as_typed(PAGES[command]))
        return 0
    if "--help_all" in rest:
        from videonl.cli.train.parser import make_parser

        make_parser(command).print_help()
        return 0
    with speaking_once(), named_by_options(rest):
        return COMMANDS[command](command, rest)


def as_typed(page: str) -> str:
    """A help page with the command as the user typed it, ``train.py`` or ``videonl train``."""
    if called("train") == "train.py":
        return page
    names = {"python train.py": "videonl train", "train.py": "videonl train"}
    for script, command in {**names, "infer.py": "videonl predict"}.items():
        page = page.replace(script, command)
    return page


@contextmanager
def speaking_once() -> Iterator[None]:
    """Let only the first of several processes print; errors of the others wait for its error."""
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
    """Train, or print the plan with ``--dry-run``."""
    settings, given, chosen, data, resume = settled(command, argv)
    from videonl.cli.train.parser import trainer_options
    from videonl.training import fit, new_run, plan_lines
    from videonl.training.callbacks.stopping import TrainingStopped
    from videonl.training.run_header import facts
    from videonl.training.trainer import leaves_nothing
    from videonl.weights.run_folder import run_of

    resumed = run_of(resume) if resume else None
    options = trainer_options(settings["trainer"])
    writes = is_first_process() and not (leaves_nothing(options) or settings["dry_run"])
    with ExitStack() as stack:
        if resumed and writes:
            stack.enter_context(claimed(folder=resumed))
        if resumed:
            take_lists(settings, resumed)
        module, classifier = build(settings, {**given, **chosen.settings}, resume, data=data)
        run_dir = resumed or new_run(Path(settings["out"]), settings["name"], make=writes)
        if settings["dry_run"]:
            return show_plan(classifier, module, options, chosen.lines(), resume=resume)
        stack.callback(remove_if_empty, run_dir)
        stack.enter_context(clear_errors(settings, run_dir=run_dir))
        try:
            result = fit(
                classifier,
                module,
                run_dir=run_dir,
                seed=settings["seed"],
                resume=resume,
                save_every_minutes=settings["save_every_minutes"],
                save_every_steps=settings["save_every_steps"],
                config=config_text(with_lists(settings, run_dir, made=module.made_split), module),
                trainer_options=options,
                announce=facts if resume else partial(plan_lines, chosen=chosen.lines()),
            )
        except TrainingStopped as stop:
            if is_first_process():
                print(f"{called('train')}: {stop}", file=sys.stderr)
            return stop.exit_code
    if result.reports:
        print_result(result, settings, given)
    return 0


def settled(
    command: str, argv: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any], "Choices", "VideoDataModule | None", Path | None]:
    """Settle the settings of a training.

    Returns:
        (all settings, those that the user gave, those that were chosen from the data, the data
        module if it was made for that, the checkpoint to resume from).
    """
    argv = ["--dry_run" if word == "--dry-run" else word for word in argv]
    settings, given = read_settings(command, argv)
    from lightning.pytorch import seed_everything

    from videonl.training import Choices
    from videonl.training.runs import check_name, resume_path, run_name

    seed_everything(settings["seed"], verbose=False)
    wanted, out = settings["resume"] or settings["ckpt_path"], Path(settings["out"])
    data, chosen = None, Choices()
    if settings["config"] is None and wanted in (None, "auto"):
        data = first_look(settings)
        chosen = choose_rest(settings, given, data)
    name = settings["name"]
    if name is None:
        name = run_name(settings["model"]["name"], settings["data"]["root"])
    resume = resume_path(wanted, out=out, name=check_name(name)) if wanted else None
    if wanted == "auto" and resume is None:
        print(f"no run named {name} in {out} yet: starting a new one")
    elif data and resume:  # as that run was begun, whatever the data would be given today
        settings, given = read_settings(command, [*argv, "--resume", str(resume)])
        data, chosen = None, Choices()
    settings["name"] = check_name(name)
    return settings, given, chosen, data, resume


def show_plan(
    classifier: "VideoClassifier",
    data: "VideoDataModule",
    options: dict[str, Any],
    chosen: Sequence[str],
    *,
    resume: Path | None,
) -> int:
    """Print the plan of a training, without making a run or changing weights."""
    from videonl.training import make_trainer, plan_lines
    from videonl.training.runs import check_resumable
    from videonl.training.trainer import NOTHING_KEPT

    if resume:
        classifier.meet(data, training=True)
        check_resumable(resume, classifier)
    trainer = make_trainer({**options, **NOTHING_KEPT})
    if trainer.is_global_zero:
        print(*plan_lines(classifier, data, trainer, chosen=chosen), sep="\n")
        data.teardown("fit")
    return 0


def remove_if_empty(folder: Path) -> None:
    """A training that could not start leaves no folder."""
    with suppress(OSError):
        folder.rmdir()
        folder.parent.rmdir()


def print_result(
    result: "FitResult", settings: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    """Print the accuracy, where the files are, and the command that tests the network."""
    from videonl.training.callbacks.summary import optimistic

    if result.nothing_left:
        limit = "max_steps" if settings["trainer"]["max_steps"] > 0 else "max_epochs"
        print(
            f"done      nothing left to do: the run has had its {counted(result.epochs, 'epoch')} "
            f"(raise --trainer.{limit} to train on)"
        )
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
        print(f"next      {test_line(result.run_dir, settings, given)}")
    elif result.last.is_file():
        print(f"last      {result.last} (without validation there is no best checkpoint)")


def test_line(run_dir: Path, settings: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """The command that tests a run on its data, with the options that this needs."""
    typed = Path(sys.argv[0])
    words = ["python", sys.argv[0]] if typed.name == "train.py" else ["videonl", "train"]
    words += ["test", "--checkpoint", str(run_dir), "--data.root", settings["data"]["root"]]
    for key in OF_THE_SET:
        value = given.get(f"data.{key}")
        if value is not None:
            words += [f"--data.{key}", str(value)]
    name = given.get("model.name")
    if name is not None and ":" in name:  # code is imported from a user's own words alone
        words += ["--model.name", name]
    return " ".join(map(as_word, words))


def build(
    settings: dict[str, Any],
    given: dict[str, Any],
    resume: Path | None,
    *,
    data: "VideoDataModule | None" = None,
) -> tuple["VideoDataModule", "VideoClassifier"]:
    """The data module and the classifier; missing settings of one are taken from the other.

    A training that is resumed takes its network from the checkpoint, since the published weights
    that it started from may be gone.

    Args:
        settings: all of them; what is resolved here is noted there.
        given: those that somebody gave.
        resume: a checkpoint to go on from.
        data: of ``first_look``, where that was had already.
    """
    from lightning.pytorch.utilities import rank_zero_only

    from videonl.training.classifier import VideoClassifier
    from videonl.training.runs import network_settings

    data = data or first_look(settings)
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
