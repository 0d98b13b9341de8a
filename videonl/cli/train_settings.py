"""The settings of ``train.py``: which there are, and which a person gave."""

import re
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import yaml

from videonl.cli.settings import (
    check_key,
    classes_of,
    flatten,
    options_of,
    parse,
    read_flags,
    read_yaml,
    without_markup,
)
from videonl.cli.values import parse_value
from videonl.errors import VideoNLError

if TYPE_CHECKING:  # torch and Lightning take seconds to import: not for --help
    from jsonargparse import ArgumentParser

    from videonl.data.datamodule import VideoDataModule

GENERAL = ("seed", "name", "out", "resume", "ckpt_path", "save_every_minutes", "save_every_steps")
EVALUATION = ("checkpoint", "ckpt_path", "split", "json", "csv", "seed")
LISTS = ("train_list", "val_list", "test_list", "class_names_file", "skip_list")
PATHS = ("data.root", *(f"data.{name}" for name in LISTS))  # kept absolute in a run's config.yaml
# Not settings of a person, but of the code that builds.
INTERNAL_MODEL: set[str | int] = {
    *("num_classes", "class_names", "preprocessing", "recipe", "class_weights"),
    *("network", "fresh", "provenance", "licence", "videonl_version"),
}
FROM_NETWORK = ("frames", "stride", "short_side", "crop")
CROP_SHARE = 224 / 256  # of the short side, in every published protocol
# Published weights without a --config: the recipe of configs/finetune.yaml. Small batches of few
# videos have no statistics to speak of, and what is new has farther to go.
FINE_TUNING = {
    "recipe.learning_rate": 0.005,
    "recipe.fresh_factor": 10.0,
    "recipe.batch_norm": "frozen",
    "recipe.warmup": 0.1,
    "recipe.label_smoothing": 0.1,
    "trainer.gradient_clip_val": 5.0,
}
# What Lightning's own words do not say, or say of other defaults.
OF_OURS = {
    "max_epochs": "passes over the training videos; -1: until max_steps or max_time",
    "precision": "auto: bf16-mixed where a GPU trains and knows it, else 32-true",
    "callbacks": "beside those of videonl; a progress bar stands in place of its bar",
    "logger": "beside metrics.csv and TensorBoard; false: no TensorBoard",
    "plugins": "beside those of videonl",
    "enable_checkpointing": "false: a training that leaves no checkpoint",
    "use_distributed_sampler": "false: the loaders of videonl split the videos themselves",
    "sync_batchnorm": "the same as --recipe.batch_norm sync",
    "default_root_dir": "where classes of Lightning write; default: the folder of the run",
    "benchmark": "let cuDNN try its algorithms; default: on a GPU, unless deterministic",
}


def make_parser(command: str) -> "ArgumentParser":
    """Every option of a command, read off the signatures of what it builds."""
    from videonl.data.datamodule import VideoDataModule
    from videonl.training import VideoClassifier
    from videonl.training.recipe import Recipe

    parser = empty_parser(f"train.py {command}")
    parser.add_argument("--config", type=str | None, help="a YAML file with any of these settings")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--out", type=str, default="runs", help="folder of all runs")
    parser.add_argument("--name", type=str | None, help="of the run")
    if command == "fit":
        parser.add_argument("--resume", type=str | None, help="auto, a run, or a checkpoint")
        parser.add_argument("--ckpt_path", type=str | None, help="the same as --resume")
        parser.add_argument("--save_every_minutes", type=float, default=10.0, help="last.ckpt")
        parser.add_argument("--save_every_steps", type=int | None, help="last.ckpt, in steps")
    else:
        parser.add_argument("--checkpoint", type=str | None, help="a checkpoint or a run")
        parser.add_argument("--ckpt_path", type=str | None, help="the same as --checkpoint")
        parser.add_argument("--split", type=str | None, help="train, val or test")
        parser.add_argument("--json", type=str | None, help="result file of test")
        parser.add_argument("--csv", type=str | None, help="result file of predict")
    parser.add_class_arguments(VideoClassifier, "model", skip=INTERNAL_MODEL, instantiate=False)
    parser.add_class_arguments(Recipe, "recipe", instantiate=False)
    parser.add_class_arguments(VideoDataModule, "data", skip={"root", "seed"}, instantiate=False)
    root = "the data set's folder: DIR/{train,val,test}/<class>/<video>"
    parser.groups["data"].add_argument("--data.root", type=str | None, metavar="DIR", help=root)
    add_trainer(parser)
    without_markup(parser)
    return parser


def empty_parser(prog: str) -> "ArgumentParser":
    """A jsonargparse parser that reads values as videonl writes them and raises its errors."""
    from jsonargparse import ArgumentParser, set_loader, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    set_loader("videonl", parse_value, exceptions=(yaml.YAMLError,))
    return ArgumentParser(prog=prog, exit_on_error=False, allow_abbrev=False, parser_mode="videonl")


def add_trainer(parser: "ArgumentParser") -> None:
    """All of Lightning's Trainer, with our defaults and ``precision: auto``."""
    from lightning.pytorch import Trainer

    from videonl.training.trainer import DEFAULTS

    parser.add_class_arguments(Trainer, "trainer", skip={"precision"}, instantiate=False)
    known: Any = Trainer.__init__.__annotations__["precision"]
    parser.groups["trainer"].add_argument("--trainer.precision", type=Literal["auto"] | known)
    parser.set_defaults({f"trainer.{key}": value for key, value in DEFAULTS.items()})
    options = options_of(parser)
    for key, text in OF_OURS.items():
        options[f"trainer.{key}"].help = text


def trainer_options(values: dict[str, Any]) -> dict[str, Any]:
    """The section ``trainer`` with the callbacks, loggers and so on that it names, made.

    Raises:
        VideoNLError: one of them refuses its arguments.
    """
    parser = empty_parser("train.py")
    add_trainer(parser)
    try:
        made = parser.instantiate(parser.parse_object({"trainer": values}))
    except Exception as error:  # a class of anybody's
        reason = " ".join(str(error).split()) or type(error).__name__
        raise VideoNLError(f"--trainer: {reason}") from error
    return dict(vars(made["trainer"]))


def read_settings(command: str, argv: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a command.

    Returns:
        (all with their defaults, nested by section; only those that were given, flat).

    Raises:
        VideoNLError: an unknown option, a wrong type, a missing or broken file.
    """
    parser = make_parser(command)
    words = read_flags(argv, parser)
    values = dict(word[2:].split("=", 1) for word in words)
    files = [word.partition("=")[2] for word in words if word.startswith("--config=")]
    contents = [settings_of(file, parser) for file in files]
    resume = values.get("resume", values.get("ckpt_path"))
    if command == "fit" and not files and resume not in (None, "auto"):
        contents = stored_settings(str(resume), parser, again=values)
    words = [word for word in words if not word.startswith("--config=")]
    given = parse(parser, contents, words)
    if given.get("data.root") is None:
        raise VideoNLError(
            "which videos? Say --data.root DIR, a folder that holds train/<class>/<video>, "
            "val/<class>/<video>"
        )
    if command == "fit" and not contents and given.get("model.pretrained"):
        given = parse(parser, [fine_tuning(given), given_flat(given, parser)], [])
    settings = parser.parse_object(given).as_dict()
    return settings, given_flat(given, parser)


def given_flat(given: Any, parser: "ArgumentParser") -> dict[str, Any]:
    """A namespace as dotted keys and values."""
    return {key: given[key] for key in options_of(parser) if key in given}


def settings_of(file: str, parser: "ArgumentParser") -> dict[str, Any]:
    """The settings that a file holds, by dotted key.

    Raises:
        VideoNLError: see ``read_yaml``; or an unknown key.
    """
    found = {}
    for key, value in flatten(read_yaml(file), parser):
        if key in (*GENERAL, *EVALUATION) and key not in options_of(parser):
            continue  # a file of fit may be given to test, which has no --resume
        check_key(key, parser, source=file)
        found[key] = value
    return found


def fine_tuning(given: Any) -> dict[str, Any]:
    """Settings for starting from published weights, for where nobody said others.

    The network is the file's own, unless --model.name says another.
    """
    from videonl.models.pretrained import network_of

    found: dict[str, Any] = dict(FINE_TUNING)
    network = None if "model.name" in given else network_of(given["model.pretrained"])
    return found if network is None else {**found, "model.name": network}


def stored_settings(
    resume: str, parser: "ArgumentParser", *, again: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The ``config.yaml`` beside a checkpoint, so that --resume PATH alone goes on with a run.

    Args:
        resume: a checkpoint, or the folder of a run.
        parser: of the command.
        again: what the command line says itself.

    Raises:
        VideoNLError: it names code. A run may be a stranger's, so nothing of it is imported.
    """
    path = Path(resume).expanduser()
    run_dir = path if path.is_dir() else path.parent
    file = run_dir / "config.yaml"
    if not file.is_file():
        return []
    found = settings_of(str(file), parser)
    for key in set(found) & {word.partition("+")[0] for word in again}:
        del found[key]
    for key, value in found.items():
        text = f"--{key} {value}" if isinstance(value, str) else f"--{key} with it"
        if names_code(key, value, parser):
            raise VideoNLError(
                f"{file}: {key} names code, which is not imported from a stored configuration; "
                f"say {text} again, or --config {file} if you trust that file"
            )
    folder = folder_of_start(run_dir.resolve(), str(found.get("out") or "runs"))
    for key in PATHS:
        if found.get(key) is not None:
            found[key] = str(folder / Path(str(found[key])).expanduser())
    return [found]


def names_code(key: str, value: Any, parser: "ArgumentParser") -> bool:
    """Whether a setting would import something: a class, or a network of anybody's."""
    if key == "model.name":
        return ":" in str(value)
    if isinstance(value, Mapping):
        return key in classes_of(parser) or any(
            name == "class_path" or names_code(key, item, parser) for name, item in value.items()
        )
    if isinstance(value, list):
        return any(names_code(key, item, parser) for item in value)
    if key not in classes_of(parser) or not isinstance(value, str):
        return False
    kind = getattr(options_of(parser)[key], "_typehint", None)
    return str not in get_args(kind) or not re.fullmatch(r"[\w-]+", value)  # "ddp" is a word


def folder_of_start(run_dir: Path, out: str) -> Path:
    """Where a run was started: relative paths in its configuration begin there.

    Runs store absolute paths; older ones do not, but they lie in ``out/NAME/DATE`` below it.
    """
    parts, place = Path(out).parts, run_dir.parent.parent
    if not Path(out).is_absolute() and place.parts[-len(parts) :] == parts:
        return place.parents[len(parts) - 1]
    return Path()


def fitting_data(
    settings: dict[str, Any], given: dict[str, Any], preprocessing: dict[str, Any], *, stage: str
) -> "VideoDataModule":
    """The data module, with the network's clips where nobody has said others.

    The resolved values are noted in ``settings`` too.
    """
    from videonl.data.datamodule import VideoDataModule

    values = settings["data"]
    for key in FROM_NETWORK:
        if f"data.{key}" not in given and preprocessing.get(key) is not None:
            values[key] = preprocessing[key]
    if "data.crop" in given and "data.short_side" not in given:
        values["short_side"] = round(values["crop"] / CROP_SHARE)
    if "data.short_side" in given and "data.crop" not in given:
        values["crop"] = round(values["short_side"] * CROP_SHARE)
    data = VideoDataModule(**values, seed=settings["seed"])
    data.setup(stage)
    return data


def config_text(settings: dict[str, Any], data: "VideoDataModule") -> str:
    """The resolved settings as YAML, without how this one run was started; paths are absolute."""
    from lightning.pytorch import Trainer

    from videonl.training.trainer import DEFAULTS

    left_out = ("config", "resume", "ckpt_path")
    kept = {key: value for key, value in settings.items() if key not in left_out}
    kept["out"] = absolute(kept["out"])
    kept["data"] = {**kept["data"], "root": data.root}
    for key in PATHS:
        section, _, name = key.partition(".")
        if kept[section][name] is not None:
            kept[section][name] = absolute(kept[section][name])
    # Without what Lightning decides by itself.
    usual = {**{k: p.default for k, p in signature(Trainer).parameters.items()}, **DEFAULTS}
    kept["trainer"] = {
        key: value
        for key, value in kept["trainer"].items()
        if value is not None or usual[key] is not None
    }
    return yaml.safe_dump(plain(kept), sort_keys=False, allow_unicode=True)


def absolute(path: str) -> str:
    """The same path from every folder."""
    return str(Path(path).expanduser().resolve())


def plain(value: Any) -> Any:
    """Tuples as lists, for YAML."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value
