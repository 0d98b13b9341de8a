"""Every option of ``train.py``, from the signatures of the classes that it builds."""

import re
from argparse import SUPPRESS
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal

from jsonargparse import ArgumentParser, set_loader
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy

from videonl.cli.main import called
from videonl.cli.train.flags import options_of
from videonl.cli.values import parse_value
from videonl.data.datamodule import VideoDataModule
from videonl.errors import VideoNLError
from videonl.limits import SEED, above, whole
from videonl.training.classifier import VideoClassifier
from videonl.training.recipe import Recipe
from videonl.training.trainer import DEFAULTS

MARKUP = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`|`+~?([^`]+)`+|\.\. \w+::\s*")
DEFAULT = re.compile(r"\s*\bDefault: (``[^`]*``|\S+?)\.(?=\s|$)")  # jsonargparse writes ours
# Not settings of a person, but of the code that builds.
INTERNAL_MODEL: set[str | int] = {
    *("num_classes", "class_names", "preprocessing", "recipe", "class_weights", "network", "loss"),
    *("optimizer", "fresh", "provenance", "licence", "data_split", "trained_videos"),
    "videonl_version",
}
INTERNAL_DATA: set[str | int] = {"root", "seed", "split_seed", "preprocessing"}
# Of what belongs to no section; the others are checked by what they build.
LIMITS = {"seed": SEED, "save_every_minutes": above(0), "save_every_steps": whole(1)}
# What Lightning's own words do not say, or say of other defaults.
OF_OURS = {
    "max_epochs": "passes over the training videos; -1, or max_steps alone: no limit of them",
    "precision": "auto: bf16-mixed on a GPU with bf16 or a CPU with AMX, else 32-true",
    "callbacks": "added to those of videonl; a progress bar replaces the one of videonl",
    "logger": "added to metrics.csv and TensorBoard; false: no TensorBoard",
    "plugins": "added to those of videonl",
    "enable_checkpointing": "false: write no checkpoints",
    "use_distributed_sampler": "must be false: videonl splits the videos itself",
    "sync_batchnorm": "the same as --recipe.batch_norm sync",
    "default_root_dir": "folder for files of Lightning's classes; default: the run's folder",
    "benchmark": "let cuDNN time its algorithms; default: on a GPU, unless deterministic",
}

NEEDS = re.compile(r"Requirement '([\w-]+)[^']*' not met")
EXTRAS = {name: f"videonl[{name}]" for name in ("wandb", "mlflow")}

set_loader("videonl", parse_value, exceptions=(VideoNLError,))


class Parser(ArgumentParser):
    """A parser for values as videonl writes them; its help is free of the docstrings' markup."""

    def __init__(self, **options: Any) -> None:
        usual = {"exit_on_error": False, "allow_abbrev": False, "parser_mode": "videonl"}
        super().__init__(**{**usual, **options})

    def format_help(self, *args: Any) -> str:
        """The text of --help_all, and of --trainer.callbacks.help NAME."""
        for action in self._actions:
            if action.dest in (self.groups or {}):
                action.help = SUPPRESS  # a section is no option
            elif action.help:  # jsonargparse writes the default itself, which may be another here
                action.help = plain_text(DEFAULT.sub("", action.help))
        for group in self._action_groups:
            group.title = plain_text(group.title) if group.title else group.title
        return super().format_help(*args)


@cache
def make_parser(command: str) -> Parser:
    """Every option of a command, from the signatures of the classes that it builds."""
    parser = Parser(prog=f"{called('train')} {command}")
    parser.add_argument("--config", type=str | None, help="YAML file with any of these settings")
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    parser.add_argument("--out", type=str, default="runs", help="folder of all runs")
    parser.add_argument("--name", type=str | None, help="name of the run")
    if command == "fit":
        parser.add_argument(
            "--resume", type=str | None, help="auto, a run's folder, or a checkpoint"
        )
        parser.add_argument("--ckpt_path", type=str | None, help="the same as --resume")
        parser.add_argument("--dry_run", type=bool, default=False, help="print the plan and stop")
        parser.add_argument(
            "--save_every_minutes",
            type=float,
            default=10.0,
            help="minutes from one last.ckpt to the next",
        )
        parser.add_argument(
            "--save_every_steps", type=int | None, help="steps from one last.ckpt to the next"
        )
    else:
        parser.add_argument("--checkpoint", type=str | None, help="a checkpoint or a run's folder")
        parser.add_argument("--ckpt_path", type=str | None, help="the same as --checkpoint")
        parser.add_argument("--split", type=str | None, help="train, val or test")
        parser.add_argument("--json", type=str | None, help="result file of test")
        parser.add_argument("--csv", type=str | None, help="result file of predict")
        parser.add_argument("--protocol", type=str | None, help="sample as a publisher's test")
    parser.add_class_arguments(VideoClassifier, "model", skip=INTERNAL_MODEL, instantiate=False)
    parser.add_class_arguments(Recipe, "recipe", instantiate=False)
    parser.add_class_arguments(VideoDataModule, "data", skip=INTERNAL_DATA, instantiate=False)
    root = "the data set's folder: DIR/{train,val,test}/<class>/<video>"
    group(parser, "data").add_argument("--data.root", type=str | None, metavar="DIR", help=root)
    add_trainer(parser)
    return parser


def group(parser: Parser, section: str) -> Any:
    """The group of the options of a section."""
    groups: Any = parser.groups
    return groups[section]


def add_trainer(parser: Parser) -> None:
    """All of Lightning's Trainer, with our defaults and ``precision: auto``."""
    parser.add_class_arguments(Trainer, "trainer", skip={"precision"}, instantiate=False)
    known: Any = Trainer.__init__.__annotations__["precision"]
    group(parser, "trainer").add_argument("--trainer.precision", type=Literal["auto"] | known)
    parser.set_defaults({f"trainer.{key}": value for key, value in DEFAULTS.items()})
    options = options_of(parser)
    for key, text in OF_OURS.items():
        options[f"trainer.{key}"].help = text


@cache
def trainer_parser() -> Parser:
    """The section ``trainer`` alone."""
    parser = Parser(prog="train.py")
    add_trainer(parser)
    return parser


def trainer_options(values: dict[str, Any]) -> dict[str, Any]:
    """The section ``trainer`` with the callbacks, loggers and so on that it names, made.

    Raises:
        VideoNLError: one of them refuses its arguments.
    """
    parser = trainer_parser()
    values = {key: spelled_out(key, value) for key, value in values.items()}
    try:
        made = parser.instantiate(parser.parse_object({"trainer": values}))
    except Exception as error:  # a class of anybody's
        reasons = re.findall(r"^ *- (?!Expected|Not a valid)(.+)", str(error), re.MULTILINE)
        reason = (reasons or [str(error)])[0]
        if reason.endswith(":"):  # the class itself says why
            reason = f"{reason[:-1]}: {root_of(error)}"
        if needed := NEEDS.search(reason):
            wanted = EXTRAS.get(needed[1], needed[0].split("'")[1])
            reason = f"{needed[1]} is not installed: pip install '{wanted}'"
        reason = " ".join(reason.split()).replace("`", "")
        raise VideoNLError(f"--trainer: {reason or type(error).__name__}") from error
    return dict(vars(made["trainer"]))


def root_of(error: BaseException) -> BaseException:
    """The first of the errors that led to one."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return error


def spelled_out(key: str, value: Any) -> Any:
    """The path of a class of Lightning where its bare name could also be a word of the Trainer's.

    Nothing is imported for it, so that a stored configuration may say it, too.
    """
    kinds: dict[str, Any] = {"strategy": Strategy, "accelerator": Accelerator, "profiler": Profiler}
    for kind in subclasses_of(kinds[key]) if key in kinds and isinstance(value, str) else ():
        if kind.__name__ == value and kind.__module__.startswith("lightning."):
            return {"class_path": f"{kind.__module__}.{value}"}
    return value


def subclasses_of(kind: type) -> Iterator[type]:
    """The classes that are derived from one, directly or not."""
    child: type
    for child in kind.__subclasses__():
        yield child
        yield from subclasses_of(child)


def plain_text(docstring: str) -> str:
    """A docstring's text as a terminal shows it.

    Example:
        >>> plain_text("see :class:`~torch.nn.Linear`, ``width`` and `height`")
        'see Linear, width and height'
    """
    return MARKUP.sub(lambda found: found[1] or found[2] or "", docstring)
