"""``videonl compare``: networks side by side, in one table."""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videonl.claims import claimed
from videonl.cli.main import make_parser
from videonl.cli.values import add_protocol, note, parse_views, positive
from videonl.errors import VideoNLError, continued_by
from videonl.escapes import as_word
from videonl.limits import above, whole

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    from videonl.evaluation.entry import Entry
    from videonl.evaluation.sweep import Sweep
    from videonl.evaluation.trained_rows import Budget

EPILOG = """\
Examples:
  videonl compare i3d_r50 i3d_r50_nl5 --clip 32x224
  videonl compare tiny_i3d tiny_i3d_nl2 --train --data DIR --seeds 5 --out DIR
  videonl compare tiny_i3d tiny_i3d_nl2 --train --config configs/ut_interaction.yaml --data DIR
  videonl compare plain=runs/a/best.ckpt non-local=runs/b/best.ckpt --data DIR
With --train, every --data.*, --model.*, --recipe.* and --trainer.* of videonl train fit and its
--config FILE set how all rows are trained (videonl train fit --help_all lists them); other settings
are chosen from the data. --dry-run prints the plan and trains nothing.
Exit code: 0 success, 1 an entry failed (the others are in the table), 2 wrong usage.
"""


def parse_clip(text: str) -> tuple[int, int]:
    """``"8x224"`` -> (8, 224): frames and size.

    Raises:
        ArgumentTypeError: anything else.
    """
    match = re.fullmatch(r"([1-9]\d{0,3})[x×]([1-9]\d{0,3})", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not FRAMESxSIZE, such as 8x224")
    return int(match[1]), int(match[2])


# Options of train.py fit, but for --model.name, which names the checkpoints' network here.
OF_FIT = ("--config", "--data.", "--model.", "--recipe.", "--trainer.")
OF_TRAINING = ("dry_run", "seeds", "epochs", "train_batch", "learning_rate")
OF_SPEED = ("training_speed", "rounds", "batch_size")
OF_BUDGET = {"trainer.max_epochs", "data.batch_size"}
OWN_NAMES = {
    "data.root": "--data",
    "data.frames": "--clip",
    "data.crop": "--clip",
    "trainer.max_epochs": "--epochs",
    "data.batch_size": "--train-batch",
    "recipe.learning_rate": "--learning-rate",
}
DEFAULTS: dict[str, Any] = {
    "data": None,
    "split": None,
    "group": None,
    "clip": None,
    "views": None,
    "num_classes": None,
    "device": "auto",
    "rounds": 5,
    "batch_size": 1,
    "equal_cost": False,
}


def parser_of_compare() -> argparse.ArgumentParser:
    """The options of the command; those not given are None, so that a sweep file can set them."""
    parser = make_parser("videonl compare", "Compare networks: cost, speed and accuracy.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add = parser.add_argument
    add(
        "entries",
        nargs="*",
        metavar="MODEL|CKPT",
        help="network or checkpoint; NAME=... names its row",
    )
    add("--data", metavar="ROOT", help="data set to test the checkpoints on")
    add("--split", help="split to test on (default: test where there is one, else val)")
    add(
        "--group",
        metavar="REGEX",
        help="regular expression that finds the group (camera, subject, sequence) of a test video "
        "in its path below ROOT; its videos are alike, so intervals count groups instead of videos",
    )
    add(
        "--clip",
        metavar="FRAMESxSIZE",
        type=parse_clip,
        help="clip for networks given by name (default: the views that each was made for; with "
        "--train those of the first network); a checkpoint keeps its own",
    )
    add(
        "--views",
        metavar="CLIPSxCROPS",
        type=parse_views,
        help="views per video (default: as each network was validated or published)",
    )
    add_protocol(parser)
    add(
        "--num-classes",
        type=positive,
        metavar="K",
        help="for networks given by name (default: 400)",
    )
    add(
        "--out",
        metavar="DIR",
        help="write compare.json, .csv, .md, .html, .png there "
        "(default with --train: a folder below runs/)",
    )
    add(
        "--model.name",
        dest="network",
        metavar="NAME",
        help="network of the checkpoints if it is not one of videonl, as package.module:function; "
        "its code is imported only if you give this option",
    )
    add("--device", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    add("--rounds", type=positive, metavar="N", help="speed measurements (default: 5)")
    add("--batch-size", type=positive, metavar="N", help="clips per pass when timing (default: 1)")
    add("--no-speed", action="store_true", help="do not measure speed and memory")
    add("--training-speed", action="store_true", help="measure forward and backward too")
    add("--train", action="store_true", help="train the networks by name first, on --data")
    add("--dry-run", action="store_true", help="print the plan of the trainings and stop")
    add(
        "--seeds", type=whole(1, 10_000), metavar="N", help="trainings of each network (default: 3)"
    )
    add("--epochs", type=positive, metavar="N", help="the same as --trainer.max_epochs")
    add("--train-batch", type=positive, metavar="N", help="the same as --data.batch_size")
    add("--learning-rate", type=above(0), metavar="RATE", help="the same as --recipe.learning_rate")
    add(
        "--equal-cost",
        action="store_const",
        const=True,
        help="widen the networks without non-local blocks until they cost as much as those with",
    )
    add(
        "--sweep", metavar="FILE", help="a YAML file with entries and settings; options override it"
    )
    add("--scale", metavar="NAME", help="one of the scales of the sweep file")
    return parser


def read_arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options of this command, and those of the trainings."""
    own: list[str] = []
    flags: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        name = word.partition("=")[0]
        if not name.startswith(OF_FIT) or name == "--model.name":
            own.append(word)
            continue
        flags.append(word)
        if "=" not in word and words and not words[0].startswith("--"):
            flags.append(words.pop(0))
    return parser_of_compare().parse_args(own), flags


def check_usage(arguments: argparse.Namespace) -> None:
    """Refuse options that exclude each other.

    Raises:
        VideoNLError: names the option.
    """
    if arguments.out and Path(arguments.out).is_file():
        raise VideoNLError(f"--out {arguments.out} is a file; give a folder")
    if not arguments.entries and not arguments.sweep:
        raise VideoNLError("nothing to compare: give network names, checkpoints or --sweep FILE")
    if arguments.scale and not arguments.sweep:
        raise VideoNLError("--scale chooses a scale of a sweep file; give --sweep FILE too")
    if arguments.no_speed and (given := options_of(arguments, OF_SPEED)):
        raise VideoNLError(f"{given[0]} and --no-speed exclude each other; leave one of them out")


def options_of(arguments: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """Those of some options that were given, as they are typed."""
    return [f"--{name.replace('_', '-')}" for name in names if getattr(arguments, name)]


def read_given(arguments: argparse.Namespace) -> "Sweep":
    """The settings of the sweep file and of the options, which override it."""
    from videonl.evaluation.entry import parse_entry
    from videonl.evaluation.sweep import Sweep, read_sweep

    sweep = Sweep([])
    if arguments.sweep:
        sweep = read_sweep(arguments.sweep, scale=arguments.scale)
    given = {key: getattr(arguments, key) for key in DEFAULTS}
    settings = DEFAULTS | {k: v for k, v in sweep.settings.items() if v is not None}
    settings |= {key: value for key, value in given.items() if value is not None}
    for key, parse in (("clip", parse_clip), ("views", parse_views)):
        try:
            settings[key] = (
                parse(settings[key]) if isinstance(settings[key], str) else settings[key]
            )
        except argparse.ArgumentTypeError as error:
            raise VideoNLError(f"{arguments.sweep}: {key}: {error}") from error
    train = dict(sweep.train or {}) if sweep.train is not None or arguments.train else None
    more = [parse_entry(text, network=arguments.network) for text in arguments.entries]
    entries = [replace(entry, protocol=arguments.protocol) for entry in (*sweep.entries, *more)]
    return Sweep(entries, settings, train)


def aliases(arguments: argparse.Namespace, settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings of a training that have options of this command's own: setting -> value."""
    clip = settings["clip"] or (None, None)
    found = {
        "data.root": settings["data"],
        "data.frames": clip[0],
        "data.crop": clip[1],
        "trainer.max_epochs": arguments.epochs,
        "data.batch_size": arguments.train_batch,
        "recipe.learning_rate": arguments.learning_rate,
    }
    return {key: str(value) for key, value in found.items() if value is not None}


def read_training(
    arguments: argparse.Namespace, given: "Sweep", flags: Sequence[str]
) -> tuple["Budget", list[str]]:
    """How all rows are trained, and a line for each setting that was chosen here.

    Settings that are not given are chosen from the data, unless there is a sweep file or --config.

    Raises:
        VideoNLError: an unknown or a wrong option, or two that say different things.
    """
    from videonl.cli.train.settings import choose_rest, first_look, read_settings, sides
    from videonl.evaluation.trained_rows import Budget, budget_values

    own = aliases(arguments, given.settings)
    check_twice(own, flags)
    words = [word for key, value in own.items() for word in (f"--{key}", value)]
    settings, said = read_settings("fit", [*words, *flags])
    given.settings["data"] = settings["data"]["root"]
    if given.settings["views"] is None and said.get("data.views"):
        given.settings["views"] = tuple(said["data.views"])
    if said.get("model.options", {}).get("non_local"):
        raise VideoNLError(
            "model.options.non_local would put the same blocks into every row; name networks with "
            "and without blocks instead, such as tiny_i3d and tiny_i3d_nl2"
        )
    chosen: list[str] = []
    if not given.train and settings["config"] is None:
        said["model.name"] = first_network(given.entries)
        if "trainer.devices" not in said:
            settings["trainer"]["devices"] = 1  # as its trainings have
        choices = choose_rest(settings, said, first_look(settings))
        said |= {**choices.settings, "model.options": settings["model"]["options"]}
        chosen = choices.lines()
    for key in () if given.train else OF_BUDGET - said.keys():  # as fit has them
        section, _, name = key.partition(".")
        said[key] = settings[section][name]
    values = dict(given.train or {})
    if not given.train:
        said |= {f"data.{key}": value for key, value in sides(said).items()}
    said |= {key: settings["trainer"][key[8:]] for key in said if key.startswith("trainer.")}
    for key, value in budget_values(said).items():
        both = isinstance(value, dict) and isinstance(values.get(key), dict)
        values[key] = {**values[key], **value} if both else value
    if arguments.seeds:
        values["seeds"] = tuple(range(arguments.seeds))
    return Budget(**values, instantiate=instantiate), chosen


def instantiate(trainer: dict[str, Any]) -> dict[str, Any]:
    """Arguments of Lightning's Trainer, with named classes turned into objects."""
    from videonl.cli.train.parser import trainer_options

    made = trainer_options(trainer) if trainer else {}
    return {name: made[name] for name in trainer}


def check_twice(own: Mapping[str, str], flags: Sequence[str]) -> None:
    """Refuse an option of this command and the same one of a training, where they differ.

    Raises:
        VideoNLError: names both.
    """
    for place, flag in enumerate(flags):
        name, equals, value = flag.partition("=")
        value = value if equals else next(iter(flags[place + 1 : place + 2]), "")
        other = own.get(name[2:])
        if name.startswith("--") and other is not None and other != value:
            raise VideoNLError(
                f"{name} {value}: {OWN_NAMES[name[2:]]} says {other}, and both are the same "
                "option; give one of them"
            )


def first_network(entries: Sequence["Entry"]) -> str:
    """The network for which settings are chosen: the first large one, else the first.

    Raises:
        VideoNLError: there is nothing to train.
    """
    names = [entry.target for entry in entries if not entry.is_checkpoint]
    if not names:
        raise VideoNLError("--train has nothing to train: every entry is a checkpoint already")
    return next((name for name in names if not name.startswith("tiny_")), names[0])


def main(argv: Sequence[str]) -> int:
    """Compare; exit code 1 if an entry failed."""
    arguments, flags = read_arguments(argv)
    check_usage(arguments)
    given = read_given(arguments)
    idle = [*flags, *options_of(arguments, OF_TRAINING)] if given.train is None else []
    if idle:
        word = idle[0].partition("=")[0]
        raise VideoNLError(f"{word} is for trainings; add --train, or leave it out")
    if arguments.split and given.train is None and given.settings["data"] is None:
        raise VideoNLError("--split is a split of --data; give both")
    if arguments.protocol:
        note(f"every network is tested by the protocol of {arguments.protocol}, with its own clips")
    from videonl.cli.train.errors import named_by_options
    from videonl.evaluation.compare import compare_models
    from videonl.evaluation.table import plain_text
    from videonl.inference.show import StepBar
    from videonl.reports import write_comparison

    budget, typed = None, bool(arguments.out)
    if given.train is not None:
        with named_by_options(flags):
            budget, chosen = read_training(arguments, given, flags)
            lines = plan_lines(given, budget, chosen)
        print(*lines, sep="\n", file=None if arguments.dry_run else sys.stderr, flush=True)
        if arguments.dry_run:
            return 0
        arguments.out = arguments.out or run_folder(given.settings["data"])
    named = "" if typed or not arguments.out else f", with --out {as_word(arguments.out)}"
    settings = given.settings
    if arguments.no_speed:
        settings["rounds"] = 0
    again = continued_by(f"run the same command again to continue{named}")
    with again, claimed(folder=arguments.out), StepBar() as bar:
        table = compare_models(
            given.entries,
            **settings,
            training_speed=arguments.training_speed,
            train=budget,
            folder=arguments.out,
            on_progress=bar.report,
        )
    print(plain_text(table, failures=False))
    for row in table.failed:
        print(f"videonl compare: {row.name} failed: {row.error}", file=sys.stderr)
    if arguments.out:
        files = write_comparison(table, Path(arguments.out))
        print(f"\nwritten: {', '.join(map(str, files))}", file=sys.stderr)
    return 1 if table.failed else 0


def run_folder(data: str) -> str:
    """The folder of a comparison that trains without ``--out``: one below ``runs/``."""
    from videonl.training.runs import new_run, run_name

    folder = new_run(Path("runs"), run_name("compare", data), make=False)
    word = as_word(folder)
    print(f"run       {folder} (to continue it later, add --out {word})", file=sys.stderr)
    return str(folder)


def plan_lines(given: "Sweep", budget: "Budget", chosen: Sequence[str]) -> list[str]:
    """The plan of the trainings: settings, steps, time and memory."""
    from videonl.evaluation.trained_rows import plan_of
    from videonl.inference.network import choose_device

    return plan_of(
        given.entries,
        data=given.settings["data"],
        budget=budget,
        device=choose_device(given.settings["device"]),
        equal_cost=given.settings["equal_cost"],
        chosen=chosen,
    )
