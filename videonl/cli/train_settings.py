"""The settings of ``train.py``: which there are, and which a person gave."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from videonl.cli.settings import check_key, check_types, flatten, merge, read_flags, read_yaml
from videonl.errors import VideoNLError
from videonl.home import expanded

if TYPE_CHECKING:  # torch and Lightning take seconds to import: not for --help
    from jsonargparse import ArgumentParser

    from videonl.data.datamodule import VideoDataModule

GENERAL = ("seed", "name", "out", "resume", "ckpt_path", "save_every_minutes", "save_every_steps")
EVALUATION = ("checkpoint", "ckpt_path", "split", "json", "csv", "seed")
# Not settings of a person, but of the code that builds.
INTERNAL_TRAINER: set[str | int] = {"training", "callbacks", "loggers", "run_dir", "sync_batchnorm"}
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


def make_parser(command: str) -> "ArgumentParser":
    """Every option of a command, read off the signatures of what it builds."""
    from jsonargparse import ArgumentParser, set_parsing_settings

    from videonl.data.datamodule import VideoDataModule
    from videonl.training import VideoClassifier
    from videonl.training.recipe import Recipe
    from videonl.training.trainer import make_trainer

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=f"train.py {command}", exit_on_error=False)
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
    parser.add_class_arguments(VideoClassifier, "model", skip=INTERNAL_MODEL)
    parser.add_class_arguments(Recipe, "recipe")
    parser.add_class_arguments(VideoDataModule, "data", skip={"seed"})
    parser.add_function_arguments(make_trainer, "trainer", skip=INTERNAL_TRAINER)
    return parser


def read_settings(command: str, argv: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a command.

    Returns:
        (all with their defaults, nested by section; only those that were given, flat).

    Raises:
        VideoNLError: an unknown option, a wrong type, a missing or broken file.
    """
    flags = read_flags(argv)
    parser = make_parser(command)
    known = [a.dest for a in parser._actions if a.dest not in ("help", "print_shtab")]
    sections = {key.partition(".")[0] for key in known if "." in key}
    known = [key for key in known if key not in sections]
    for key, _ in flags:
        check_key(key, known, source="")
    files = [str(value) for key, value in flags if key == "config"]
    resume = next((v for k, v in flags if k in ("resume", "ckpt_path")), None)
    if command == "fit" and not files and resume not in (None, "auto"):
        files = saved_config(str(resume))
    pairs: list[tuple[str, Any]] = []
    for file in files:
        for key, value in flatten(read_yaml(file), known):
            if key.partition(".")[0] in (*GENERAL, *EVALUATION) and key not in known:
                continue  # a file of fit may be given to test, which has no --resume
            check_key(key, known, source=file)
            pairs.append((key, value))
    given = merge([*pairs, *((k, v) for k, v in flags if k != "config")], known)
    for key in ("name", "resume", "ckpt_path", "checkpoint", "data.root", "model.pretrained"):
        if given.get(key) is not None:
            given[key] = str(given[key])
    if "data.root" not in given:
        raise VideoNLError(
            "which videos? Say --data.root DIR, a folder that holds train/<class>/<video>, "
            "val/<class>/<video>"
        )
    if command == "fit" and not files and given.get("model.pretrained"):
        given = fine_tuning(given)
    return check_types(parser, given), given


def fine_tuning(given: dict[str, Any]) -> dict[str, Any]:
    """Settings for starting from published weights: where nobody said others, those of the file.

    The network is the file's own, unless --model.name says another.
    """
    from videonl.models.pretrained import network_of

    found: dict[str, Any] = dict(FINE_TUNING)
    network = None if "model.name" in given else network_of(given["model.pretrained"])
    if network is not None:
        found["model.name"] = network
    return {**found, **given}


def saved_config(resume: str) -> list[str]:
    """The ``config.yaml`` beside a checkpoint, so that --resume PATH alone goes on with a run."""
    path = expanded(resume)
    config = (path if path.is_dir() else path.parent) / "config.yaml"
    return [str(config)] if config.is_file() else []


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
    """The resolved settings as YAML, without how this one run was started."""
    import yaml

    left_out = ("config", "resume", "ckpt_path")
    kept = {key: value for key, value in settings.items() if key not in left_out}
    kept["data"] = {**kept["data"], "root": str(expanded(data.root).resolve())}
    return yaml.safe_dump(plain(kept), sort_keys=False, allow_unicode=True)


def plain(value: Any) -> Any:
    """Tuples as lists, for YAML."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value
