"""``videonl cross``: the same training on every fold or official split, and the mean."""

import argparse
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from videonl.claims import claimed
from videonl.cli.main import make_parser
from videonl.cli.values import note
from videonl.errors import VideoNLError, continued_by
from videonl.escapes import json_text, parse_json
from videonl.files import read_text, sha256, write_text
from videonl.limits import SEED
from videonl.shares import counted, few, percent

RESULT, SUMMARY, SETTINGS = "result.json", "cross.json", "settings.json"
SHOWN = 3  # names of a message
FOR_TESTS = (
    *("--config", "--data.", "--trainer.accelerator", "--trainer.devices"),
    *("--model.name", "--model.views"),
)
# What may change between two starts, since no score depends on it, or a message advises it.
FREE = ("--data.num_workers", "--data.batch_size", "--trainer.accelerator", "--trainer.devices")
NOT_HERE = ("--data.train_list", "--data.val_list", "--data.test_list", "--data.official_split")


def parser() -> Any:
    """The command's arguments; all others are those of ``train.py fit``."""
    result = make_parser(
        "videonl cross",
        "Train once per fold (or per official split), test each network on the videos that it was "
        "not trained on, and print the mean. Options of videonl train fit are accepted, such as "
        "--model.name NAME. Parts that are finished in --out are not repeated.",
    )
    result.add_argument("folder", help="the data set")
    result.add_argument(
        "--folds", help="number of folds, or official for the splits of the data set itself"
    )
    result.add_argument(
        "--runs",
        nargs="+",
        metavar="RUN",
        help="in place of --folds: folders of runs that were trained before; each is tested on "
        "the videos that it was not trained on",
    )
    result.add_argument("--out", required=True, help="folder of the runs and of cross.json")
    result.add_argument("--seed", type=SEED, default=0, help="random seed of folds and trainings")
    return result


def main(argv: Sequence[str]) -> int:
    """Train, test and sum up."""
    options, flags = read_arguments(argv)
    if bool(options.folds) == bool(options.runs):
        raise VideoNLError("give exactly one of --folds K, --folds official and --runs RUN RUN ...")
    with claimed(folder=options.out), continued_by("run the same command again to continue"):
        return cross(options, flags)


def cross(options: argparse.Namespace, flags: Sequence[str]) -> int:
    """Do one part after the other, then write and print the mean."""
    out = Path(options.out)
    root = ["--data.root", options.folder]
    if options.runs:
        parts, words = given_runs(options.runs), ""
    elif options.folds == "official":
        parts = official_parts(options.folder)
        words = ""
        check_same(out, options, flags)
    else:
        parts, words = fold_parts(options, flags, out)
    results = []
    for name, choice in parts.items():
        if options.runs:
            code = test(out / name, [*root, *flags], Path(choice[0]), split=None)
        else:
            code = one(out / name, [*root, *choice, *flags], seed=options.seed)
        if code:
            return code
        results.append({"part": name, "scores": scores_of(out / name / RESULT)})
    summary = summed(results)
    write_text(
        out / SUMMARY,
        json_text({"data": options.folder, "groups": words, **summary}, indent=1) + "\n",
    )
    print(table(summary, words))
    print(f"result    {out / SUMMARY}")
    return 0


def scores_of(file: Path) -> dict[str, Any]:
    """The scores in a result of a test.

    Raises:
        VideoNLError: it is none.
    """
    try:
        return dict(parse_json(file.read_text(encoding="utf-8"))["scores"])
    except (ValueError, LookupError, TypeError):
        raise VideoNLError(
            f"{file} is not a result of test; remove it, and run the same command again"
        ) from None


def read_arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options of this command, and those of the trainings.

    Raises:
        VideoNLError: an option of a training that this command sets itself.
    """
    known = parser()
    own: list[str] = []
    flags: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        target = own
        if word.startswith("--") and word.partition("=")[0] not in known._option_string_actions:
            target = flags
            if word.startswith(NOT_HERE):
                raise VideoNLError(f"{word} is set by videonl cross for each part; leave it out")
        target.append(word)
        if word.startswith("--") and "=" not in word:
            while words and not words[0].startswith("--"):
                target.append(words.pop(0))
                if word != "--runs":
                    break
    return known.parse_args(own), flags


def fold_parts(
    options: argparse.Namespace, flags: Sequence[str], out: Path
) -> tuple[dict[str, list[str]], str]:
    """Name of a fold -> what makes its training, and what the groups are.

    Raises:
        VideoNLError: ``--folds`` is no number, or the folds cannot be made.
    """
    from videonl.cli.train.settings import read_settings
    from videonl.data.catalogue import read_catalogue
    from videonl.data.splits import CLASSES, TRAIN_LIST, VAL_LIST, make_folds, write_lists

    if not options.folds.isdecimal():
        raise VideoNLError(f"--folds {options.folds}: it must be a number, or official")
    settings, _ = read_settings("fit", ["--data.root", options.folder, *flags])
    data = settings["data"]
    reading = {key: data[key] for key in ("first_label", "skip_list")}
    found = read_catalogue(options.folder, class_names=data["class_names_file"], **reading)
    records = [
        record
        for part in (found.records, found.missing)
        for split in ("train", "val")
        for record in part.get(split, [])
    ]
    known = {record.path for record in records}
    out_of_it = [r for r in found.records.get("test", []) if r.path not in known]
    if out_of_it:
        note(f"the folds are of train and val; in none: {counted(len(out_of_it), 'test video')}")
    folds, words = make_folds(
        records,
        found.class_names,
        root=options.folder,
        folds=int(options.folds),
        seed=options.seed,
        group=data["group"],
    )
    check_same(out, options, flags, videos=[record.path for record in records])
    parts = {}
    for number, held in enumerate(folds):
        folder = out / f"fold-{number + 1}"
        rest = [r for other, fold in enumerate(folds) if other != number for r in fold]
        write_lists(
            folder, [(TRAIN_LIST, rest), (VAL_LIST, held)], found.class_names, root=options.folder
        )
        files = {"train_list": TRAIN_LIST, "val_list": VAL_LIST, "class_names_file": CLASSES}
        parts[folder.name] = [
            word for key, name in files.items() for word in (f"--data.{key}", str(folder / name))
        ]
    return parts, words


def check_same(
    out: Path, options: argparse.Namespace, flags: Sequence[str], *, videos: Sequence[str] = ()
) -> None:
    """Refuse a folder with parts of other folds or trainings: a mean would mix them.

    Raises:
        VideoNLError: says what is different.
    """
    names = "\n".join(os.path.relpath(video, options.folder) for video in videos)
    now = {
        "folder": os.path.realpath(options.folder),
        "--folds": options.folds,
        "--seed": options.seed,
        "videos": hashlib.sha256(os.fsencode(names)).hexdigest(),
        **{flag: text for flag, text in values_of(flags).items() if flag not in FREE},
    }
    file = out / SETTINGS
    try:
        before = dict(parse_json(read_text(file)))
    except (OSError, ValueError, TypeError):  # none yet
        before = now
    other = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if other:
        raise VideoNLError(
            f"--out {out} holds parts of another run (other: {few(other, SHOWN)}), and a mean of "
            "both would mix them; give another folder, or remove this one"
        )
    write_text(file, json_text(now, indent=1) + "\n")


def values_of(flags: Sequence[str]) -> dict[str, str]:
    """Option -> its values as one text, for a file the hash of its content; in any order."""
    found: dict[str, str] = {}
    for flag, *values in (word.split("=", 1) for word in flags):
        if flag.startswith("--"):
            name = flag
            found[name] = ""
        else:
            values = ["=".join((flag, *values))]
        for value in values:
            found[name] += f" {sha256(value) if os.path.isfile(value) else value}"
    return found


def official_parts(folder: str) -> dict[str, list[str]]:
    """Name of an official split -> what makes its training.

    Raises:
        DatasetError: the data set has none, or a list of one is not understood.
    """
    from videonl.data.catalogue import read_catalogue
    from videonl.data.layouts import official_splits

    numbers = official_splits(folder)
    for number in numbers:  # before hours of training
        read_catalogue(folder, official_split=number)
    return {f"split-{n}": ["--data.official_split", str(n)] for n in numbers}


def one(folder: Path, flags: Sequence[str], *, seed: int) -> int:
    """Train and test one part, or continue it; the exit code."""
    from videonl.cli.train import main as train

    if (folder / RESULT).is_file():
        print(f"{folder.name}: already done")
        return 0
    print(f"{folder.name}:", flush=True)
    run = ["--out", str(folder), "--name", "run", "--seed", str(seed)]
    code = train(["fit", *flags, *run, "--resume", "auto"])
    if code:
        return code
    # Not the best one: that is chosen on the very videos that are tested.
    found = sorted((folder / "run").glob("*/last.ckpt"))
    if not found:
        raise VideoNLError(
            f"{folder}: the training left no last.ckpt to be tested; leave out the --trainer "
            "options by which it takes no step or saves nothing"
        )
    return test(folder, flags, found[-1], split="val")


def test(folder: Path, flags: Sequence[str], checkpoint: Path, *, split: str | None) -> int:
    """Test one part, with those of the options that ``train.py test`` has; the exit code."""
    from videonl.cli.train import main as train

    kept: list[str] = []
    keep = False
    for word in flags:
        if word.startswith("--"):
            keep = word.startswith(FOR_TESTS) and not word.startswith("--data.val_views")
        kept += [word] if keep else []
    kept += ["--split", split] if split else []
    return train(["test", *kept, "--checkpoint", str(checkpoint), "--json", str(folder / RESULT)])


def given_runs(runs: Sequence[str]) -> dict[str, list[str]]:
    """Name of a part -> its last checkpoint.

    Raises:
        VideoNLError: no folder of a run, or one twice.
    """
    found: dict[str, list[str]] = {}
    for number, run in enumerate(runs, 1):
        last = Path(run) / "last.ckpt"
        if not last.is_file():
            raise VideoNLError(
                f"--runs {run}: not the folder of a run, since it holds no last.ckpt"
            )
        if [str(last.resolve())] in found.values():
            raise VideoNLError(f"--runs {run} is given twice; give each run once")
        found[f"run-{number}"] = [str(last.resolve())]
    return found


def summed(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The scores of all parts, with their mean and standard deviation."""
    names = [
        key
        for key, value in results[0]["scores"].items()
        if isinstance(value, int | float) and all(r["scores"].get(key) is not None for r in results)
    ]
    columns = {key: [float(result["scores"][key]) for result in results] for key in names}
    return {
        "parts": list(results),
        "mean": {key: fmean(values) for key, values in columns.items()},
        "deviation": {k: stdev(v) if len(v) > 1 else None for k, v in columns.items()},
    }


def table(summary: dict[str, Any], words: str) -> str:
    """One line a part, then the mean."""
    key = "video_top1" if "video_top1" in summary["mean"] else next(iter(summary["mean"]))
    lines = [f"{key} of the last checkpoint" + (f", {words}" if words else "")]
    for part in summary["parts"]:
        scores = part["scores"]
        lines.append(f"  {part['part']:<8} {percent(scores[key], scores['videos'])}")
    videos = sum(part["scores"]["videos"] for part in summary["parts"])
    mean = percent(summary["mean"][key], videos, deviation=summary["deviation"][key])
    lines.append(f"  mean     {mean}{' (standard deviation)' if '±' in mean else ''}")
    return "\n".join(lines)
