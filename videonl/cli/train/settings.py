"""The settings of ``train.py``: which there are, and which a person gave."""

import argparse
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from inspect import signature
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args

import yaml

from videonl.cli.train.flags import (
    check_key,
    classes_of,
    flatten,
    options_of,
    parse,
    read_flags,
    read_yaml,
    takes_null,
)
from videonl.cli.values import note, parse_value
from videonl.errors import VideoNLError
from videonl.escapes import as_word
from videonl.files import expanded
from videonl.limits import check_limits

if TYPE_CHECKING:  # torch and Lightning take seconds to import: not for --help
    from jsonargparse import ArgumentParser

    from videonl.data.datamodule import VideoDataModule
    from videonl.training import Choices
    from videonl.video.preprocessing import Preprocessing

GENERAL = ("seed", "name", "out", "resume", "ckpt_path", "save_every_minutes", "save_every_steps")
EVALUATION = ("checkpoint", "ckpt_path", "split", "json", "csv", "protocol", "seed")
LISTS = ("train_list", "val_list", "test_list", "class_names_file", "skip_list")
PATHS = ("data.root", *(f"data.{name}" for name in LISTS))  # kept absolute in a run's config.yaml
FROM_NETWORK = ("frames", "stride", "short_side", "crop", "sampling", "picture")
OF_TEST = (*FROM_NETWORK, "fps", "short_video", "test_crop", "rectangle")
# Options that there were: files that name them are still read.
RETIRED = {"data.memory_mb": "a data set that fits into memory is decoded once automatically"}
# What a test asks of the options that say how a network was made.
OF_NETWORK = ("model.name", "model.pretrained", "model.views_per_forward")
OF_CLIPS = (  # what the data module asks for training clips alone
    *("data.jitter", "data.flip", "data.flip_exceptions", "data.resized_crop", "data.rand_augment"),
    *("data.magnitude", "data.erasing", "data.balanced", "data.max_bad_share"),
)
WHERE = ("accelerator", "devices", "num_nodes", "strategy")  # of the Trainer: how many processes
CROP_SHARE = 224 / 256  # of the short side, as in videonl.training.defaults; torch-free here


def read_settings(command: str, argv: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a command.

    Returns:
        (all with their defaults, nested by section; only those that were given, flat). ``config``
        is the file of settings; without one (None) ``choose_rest`` sets what is missing.

    Raises:
        VideoNLError: an unknown option, a wrong type, a missing or broken file.
    """
    from videonl.cli.train.parser import LIMITS, make_parser
    from videonl.weights.declared import options_in_file
    from videonl.weights.hub import is_hub, pinned

    parser = make_parser(command)
    for word in argv:
        if (old := word.partition("=")[0][2:]) in RETIRED:
            raise VideoNLError(f"--{old} was removed ({RETIRED[old]}); leave it out")
    words = read_flags(argv, parser)
    if command != "fit":
        refuse_idle_flags(command, [word[2:].partition("=")[0] for word in words])
    values = {flag[2:]: value for flag, _, value in (word.partition("=") for word in words)}
    files = [word.partition("=")[2] for word in words if word.startswith("--config=")]
    contents = [settings_of(file, parser) for file in files]
    resume = values.get("resume", values.get("ckpt_path"))
    if command == "fit" and not files and resume not in (None, "auto"):
        contents = stored_settings(str(resume), parser, again=values)
    words = [word for word in words if not word.startswith("--config=")]
    given = parse(parser, contents, words)
    options_in_file(given.get("model.options"), source="--model.options")
    if given.get("data.root") is None:
        raise VideoNLError(
            "give the videos with --data.root DIR, a folder that holds train/<class>/<video> and "
            "val/<class>/<video>"
        )
    if command == "fit" and not contents and given.get("model.pretrained"):
        given = parse(parser, [own_network(given), given_flat(given, parser)], [])
    settings = parser.parse_object(given).as_dict()
    if (given.get("trainer.max_steps") or 0) > 0 and "trainer.max_epochs" not in given:
        settings["trainer"]["max_epochs"] = -1  # the steps alone end it
    settings["config"] = (files or [str(resume)])[-1] if contents else None
    for key, limit in LIMITS.items():
        if settings.get(key) is not None:
            check_limits({f"--{key}": limit}, {f"--{key}": settings[key]})
    settings["trainer"] = plain(settings["trainer"])
    if is_hub(settings["model"]["pretrained"] or ""):  # config.yaml keeps the commit
        settings["model"]["pretrained"] = pinned(settings["model"]["pretrained"])
    return settings, given_flat(given, parser)


def refuse_idle_flags(command: str, flags: Sequence[str]) -> None:
    """Refuse options of a training on the command line of a test, where they would do nothing.

    In a file they are passed over: it may be that of the training.

    Raises:
        VideoNLError: names the option.
    """
    for flag in flags:
        if flag in OF_CLIPS:
            raise VideoNLError(
                f"--{flag} is about the clips of a training, and {command} has none; leave it out"
            )
        kept = flag.startswith(OF_NETWORK) or not flag.startswith(("recipe.", "model."))
        if not kept or flag in ("out", "name"):
            raise VideoNLError(
                f"--{flag} is for fit: {command} takes the network as its checkpoint has it; leave "
                "it out"
            )
    own, other = ("val_views", "views") if command == "validate" else ("views", "val_views")
    if f"data.{other}" in flags and f"data.{own}" not in flags:
        raise VideoNLError(f"--data.{other}: the option of {command} is --data.{own}")


def given_flat(given: Any, parser: "ArgumentParser") -> dict[str, Any]:
    """A namespace as dotted keys and values."""
    return {key: given[key] for key in options_of(parser) if key in given}


def settings_of(file: str, parser: "ArgumentParser") -> dict[str, Any]:
    """The settings that a file holds, by dotted key.

    Raises:
        VideoNLError: see ``read_yaml``; or an unknown key.
    """
    found: dict[str, Any] = {}
    for key, value in flatten(read_yaml(file), parser):
        if key in RETIRED:
            note(f"{file}: {key} was removed and is ignored: {RETIRED[key]}")
            continue
        if key in (*GENERAL, *EVALUATION) and key not in options_of(parser):
            continue  # a file of fit may be given to test, which has no --resume
        option = check_key(key, parser, source=file).dest
        if option != key:  # model.options.width: 8 in one line
            value = {**(found.get(option) or {}), key[len(option) + 1 :]: value}
        elif key in found:
            raise VideoNLError(f"{file}: the key {key!r} is given twice; keep one of the two")
        found[option] = value
    return found


def own_network(given: Any) -> dict[str, Any]:
    """The network of published weights, unless --model.name is given."""
    from videonl.weights.loading import network_of

    network = None if "model.name" in given else network_of(given["model.pretrained"])
    return {} if network is None else {"model.name": network}


def choose_rest(
    settings: dict[str, Any], given: Mapping[str, Any], data: "VideoDataModule"
) -> "Choices":
    """Choose the settings that are not given from the data, and set them in ``settings``.

    Args:
        settings: of ``read_settings``.
        given: likewise.
        data: a data module of these settings that was set up.
    """
    from videonl.cli.train.parser import trainer_options
    from videonl.training import choose, data_facts, make_trainer
    from videonl.training.trainer import NOTHING_KEPT

    where = trainer_options({key: settings["trainer"][key] for key in WHERE})
    trainer = make_trainer({**{key: where[key] for key in WHERE}, **NOTHING_KEPT})
    chosen = choose(data_facts(data, processes=trainer.world_size), given)
    for key, value in chosen.settings.items():
        section, _, name = key.partition(".")
        if key == "model.options":
            value = {**value, **(settings[section][name] or {})}
        settings[section][name] = value
    return chosen


def stored_settings(
    resume: str, parser: "ArgumentParser", *, again: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The ``config.yaml`` beside a checkpoint, so that --resume PATH needs no other option.

    Args:
        resume: a checkpoint, or the folder of a run.
        parser: of the command.
        again: options of the command line.

    Raises:
        VideoNLError: it names code, which is not imported, since the file may be untrusted.
    """
    from videonl.weights.declared import name_in_file
    from videonl.weights.hub import resumed_from
    from videonl.weights.run_folder import CONFIG, run_of

    file = run_of(resumed_from(resume)) / CONFIG
    if not file.is_file():
        return []
    found = settings_of(str(file), parser)
    if "model.name" in found:
        name_in_file(found["model.name"], source=file, said=again.get("model.name"))
    for key in set(found) & {word.partition("+")[0] for word in again}:
        del found[key]
    for key, value in found.items():
        text = f"--{key} {value}" if isinstance(value, str) else f"--{key} with it"
        without = f", or --{key} null to do without" if takes_null(options_of(parser)[key]) else ""
        if names_code(key, value, parser):
            raise VideoNLError(
                f"{file}: {key} names code, which is not imported from a stored configuration; "
                f"give {text} again, or --config {as_word(file)} if you trust that file{without}"
            )
    folder = folder_of_start(file.parent.resolve(), str(found.get("out") or "runs"))
    for key in PATHS:
        if found.get(key) is not None:
            found[key] = str(folder / expanded(str(found[key])))
    return [found]


def names_code(key: str, value: Any, parser: "ArgumentParser") -> bool:
    """Whether a setting would import a class."""
    if isinstance(value, Mapping):
        return key in classes_of(parser) or any(
            name == "class_path" or names_code(key, item, parser) for name, item in value.items()
        )
    if isinstance(value, list):
        return any(names_code(key, item, parser) for item in value)
    if not isinstance(value, str):
        return False
    if not isinstance(parse_value(value), str):  # the parser reads a table out of a text, too
        return names_code(key, parse_value(value), parser)
    if key not in classes_of(parser):
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
    settings: dict[str, Any], given: dict[str, Any], shown: "Preprocessing"
) -> "VideoDataModule":
    """The data module of a training, with the network's clips where options do not set others.

    The resolved values are set in ``settings`` too.
    """
    from videonl.data.datamodule import VideoDataModule

    values = settings["data"]
    own = {key: shown[key] for key in FROM_NETWORK if f"data.{key}" not in given}
    values |= own | sides(given)
    if "stride" in own and values["sampling"] == "segments":
        values["stride"] = 1  # the network's own does not apply
    elif "stride" in own and shown.sampling == "segments":
        values["stride"] = None  # it has none
    data = VideoDataModule(**values, seed=settings["seed"])
    data.setup("fit")
    found = data.preprocessing
    values |= {"stride": found.stride, "rectangle": found.rectangle}
    if text := found.asks_crops(values["val_views"]):
        print(f"views     {text}")
    return data


def first_look(settings: Mapping[str, Any]) -> "VideoDataModule":
    """The data module of a training, before the size and length of its clips are settled."""
    from videonl.data import VideoDataModule

    data = VideoDataModule(**settings["data"], seed=settings["seed"])
    data.setup("fit")
    return data


def sides(given: Mapping[str, Any]) -> dict[str, int]:
    """The short side to a crop that was given alone, and the crop to a short side."""
    crop, short_side = given.get("data.crop"), given.get("data.short_side")
    if crop is not None and short_side is None:
        return {"short_side": round(crop / CROP_SHARE)}
    if short_side is not None and crop is None:
        return {"crop": round(short_side * CROP_SHARE)}
    return {}


def asked_protocol(
    given: Mapping[str, Any], own: "Preprocessing", *, views: str
) -> "Preprocessing":
    """The preprocessing of a test: as the network was validated or published, with given options.

    Args:
        given: the options that were given.
        own: of the network.
        views: the option that says (clips, crops).
    """
    from videonl.video.preprocessing import refuse_idle
    from videonl.video.protocols import under_protocol

    if given.get("protocol") is not None:
        own = under_protocol(own, given["protocol"])
    said = {key: given[f"data.{key}"] for key in OF_TEST if given.get(f"data.{key}") is not None}
    said |= sides(given)
    kind = {name: said.get(name, own[name]) for name in ("sampling", "picture")}
    words = ("training", "crop", "short_side")  # as a stored configuration has them
    refuse_idle({key: value for key, value in said.items() if value not in words}, **kind)
    if said.get("fps") in ("training", None):
        said.pop("fps", None)
    elif said["fps"] == "keep":
        said |= {"fps": None, "rate": None}
    if given.get(f"data.{views}") is not None:
        said["views"] = given[f"data.{views}"]
    side = said.pop("test_crop", "crop" if own.test_crop == own.crop else own.test_crop)
    if kind["picture"] == "crop":
        crop = said.get("crop", own.crop)
        said["test_crop"] = {"crop": crop, "short_side": None}.get(side, side)
    return own.changed(**said)


def config_text(settings: dict[str, Any], data: "VideoDataModule") -> str:
    """The resolved settings as YAML, without how this one run was started; paths are absolute."""
    from lightning.pytorch import Trainer

    from videonl.training.trainer import DEFAULTS

    left_out = ("config", "resume", "ckpt_path", "dry_run")
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


def with_lists(settings: dict[str, Any], folder: Path, *, made: bool) -> dict[str, Any]:
    """The settings with the lists of the split that a run has in its folder."""
    from videonl.data.splits import CLASSES, TRAIN_LIST, VAL_LIST

    if not made:
        return settings
    lists = {"train_list": TRAIN_LIST, "val_list": VAL_LIST, "class_names_file": CLASSES}
    paths = {key: str(folder / name) for key, name in lists.items()}
    return {**settings, "data": {**settings["data"], **paths}}


def take_lists(settings: dict[str, Any], run_dir: Path) -> bool:
    """Use the split that a run has made for its data set, if no lists are given."""
    data = settings["data"]
    made = (run_dir / "train.csv").is_file() and (run_dir / "val.csv").is_file()
    if not made or any(data[name] for name in ("train_list", "val_list", "test_list")):
        return False
    settings |= with_lists(settings, run_dir, made=True)
    return True


def absolute(path: str) -> str:
    """The same path from every folder."""
    return str(expanded(path).resolve())


def plain(value: Any) -> Any:
    """A setting as YAML writes it; arguments of a named class may be of any type."""
    if isinstance(value, Mapping | argparse.Namespace):
        items = value.items() if isinstance(value, Mapping) else vars(value).items()
        return {key: plain(item) for key, item in items}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return str(value.value) if isinstance(value, str) else value.name
    return value if isinstance(value, (bool, int, float, str, NoneType)) else str(value)
