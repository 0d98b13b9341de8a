r"""Does the block help on real videos? Cross-validated by groups, beside what the files alone tell.

python benchmarks/cross_validated.py DIR --folds 10 --group 'seq\d(\d)'

Every network is trained once per fold and seed, as train.py fit trains where nobody says more
(other options go to it), and answers the videos of the fold that it has not seen. The plain network
is widened until it costs what the block costs. The first seed of plain and embedded Gaussian comes
first, fold by fold, then the other affinities, then the other seeds: the table may be read early.
The same command goes on after a stop; benchmarks/results/DIR.json is written after each training,
and none that it holds is made again, here or elsewhere.
The hours: with 10 folds and 3 seeds 90 trainings, for 110 clips of 4 seconds 3 minutes each on two
cores with nothing else running.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from os.path import relpath
from pathlib import Path
from textwrap import fill, wrap
from typing import Any

import torch

from videonl.claims import claimed
from videonl.cli import cross
from videonl.cli.main import run
from videonl.cli.train.settings import choose_rest, first_look, read_settings
from videonl.cli.values import positive
from videonl.data import read_catalogue, shortcut_of
from videonl.errors import VideoNLError
from videonl.escapes import json_text
from videonl.evaluation import Comparison, Entry, Row, Score, count_cost, differences, verdict_words
from videonl.evaluation.entry import equally_dear
from videonl.evaluation.speed import describe_environment
from videonl.evaluation.verdict import interval_of
from videonl.files import write_text
from videonl.reports.chart import save_chart
from videonl.shares import interval_text

RESULTS = Path(__file__).parent / "results"
PLAIN, BLOCK = "plain", "embedded Gaussian"
AFFINITIES = {
    BLOCK: "embedded_gaussian",
    "Gaussian": "gaussian",
    "dot product": "dot_product",
    "concatenation": "concatenation",
}
SAME = ("data", "classes", "videos", "group", "folds", "flags")  # of two runs of one question
Found = dict[str, Any]


def order(folds: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[str, int, str]]:
    """(row, seed, fold) of every training: a stop at any time leaves pairs that are complete."""
    others = [name for name in AFFINITIES if name != BLOCK]
    yield from ((row, seeds[0], fold) for fold in folds for row in (PLAIN, BLOCK))
    yield from ((row, seeds[0], fold) for fold in folds for row in others)
    yield from ((row, seed, fold) for seed in seeds[1:] for fold in folds for row in (PLAIN, BLOCK))


def flags_of_rows(flags: Sequence[str], classes: int) -> dict[str, list[str]]:
    """Row -> the flags of its network; plain is as wide as makes it cost what the block costs.

    Args:
        flags: of a training of any row.
        classes: of the data set.
    """
    settings, said = read_settings("fit", ["--model.name", "tiny_i3d_nl2", *flags])
    choose_rest(settings, said, first_look(settings))
    options, data = settings["model"]["options"], settings["data"]
    pair = [Entry("tiny_i3d", PLAIN, options), Entry("tiny_i3d_nl2", BLOCK, options)]
    _, widths = equally_dear(pair, clip=(data["frames"], data["crop"]), num_classes=classes)
    rows = {
        name: [
            *("--model.name", "tiny_i3d_nl2"),
            *("--model.options.non_local_options", json.dumps({"affinity": affinity})),
        ]
        for name, affinity in AFFINITIES.items()
    }
    width = ["--model.options.width", str(widths[PLAIN])] if widths else []
    return {PLAIN: ["--model.name", "tiny_i3d", *width], **rows}


def measure(given: argparse.Namespace, flags: Sequence[str]) -> int:
    """All trainings that are still to be made; the exit code of one that was stopped."""
    root = ["--data.root", given.folder]
    options = argparse.Namespace(folder=given.folder, folds=str(given.folds), seed=0)
    by = ["--data.group", given.group] if given.group else []
    parts, words = cross.fold_parts(options, [*flags, *by], given.out)
    planned = list(order(list(parts), range(given.seeds)))
    found = about(given, flags) | {"folds": len(parts), "groups": words, "planned": len(planned)}
    go_on(found, given.result)
    rows = flags_of_rows([*root, *next(iter(parts.values())), *flags], len(found["classes"]))
    known = set(map(key_of, found["trainings"]))
    for row, seed, fold in planned:
        if (row, seed, fold) in known:
            print(f"{row}, seed {seed}, {fold}: done before")
            continue
        folder, start = given.out / row.replace(" ", "_") / f"seed-{seed}" / fold, time.time()
        code = cross.one(folder, [*root, *parts[fold], *flags, *rows[row]], seed=seed)
        if code:
            return code
        result = json.loads((folder / cross.RESULT).read_text("utf-8"))
        found["networks"].setdefault(row, network_of(result, len(found["classes"])))
        found["protocol"] = found["protocol"] or result["protocol"]
        spent = {"seconds": round(time.time() - start), "load": os.getloadavg()[1]}
        training = {"row": row, "seed": seed, "fold": fold, **spent}
        found["trainings"].append({**training, **answers_of(result, given.folder)})
        write_text(given.result, text_of(found))
    print(markdown(found))
    return 0


def go_on(found: Found, result: Path) -> None:
    """Take over what the result file holds of the same question, made here or elsewhere.

    Raises:
        VideoNLError: it answers another question.
    """
    if not result.is_file():
        return
    before = json.loads(result.read_text("utf-8"))
    other = [key for key in SAME if before[key] != found[key]]
    if other:
        raise VideoNLError(
            f"{result} was made with {other[0]} {before[other[0]]}, not {found[other[0]]}: give "
            "another --result"
        )
    machines = [one for one in before["environments"] if one not in found["environments"]]
    found |= {key: before[key] for key in ("networks", "protocol", "trainings")}
    found["environments"] = [*machines, *found["environments"]]


def key_of(training: Found) -> tuple[str, int, str]:
    """What tells a training from the others."""
    return training["row"], training["seed"], training["fold"]


def about(given: argparse.Namespace, flags: Sequence[str]) -> Found:
    """What is known before any training: the data, the shortcut, the machine."""
    catalogue = read_catalogue(given.folder)
    records = [r for split in ("train", "val") for r in catalogue.records.get(split, [])]
    shortcut = shortcut_of(given.folder, records, group=given.group)
    return {
        "data": Path(given.folder).resolve().name,
        "classes": list(catalogue.class_names),
        "videos": len(records),
        "group": given.group,
        "flags": list(flags),
        "shortcut": shortcut if isinstance(shortcut, str) else shortcut.as_dict(),
        "environments": [describe_environment(torch.device("cpu"))],
        "protocol": {},
        "networks": {},
        "trainings": [],
    }


def network_of(result: Found, classes: int) -> Found:
    """A row's network and its cost, at the size of its views."""
    model, shape = result["model"], result["cost"]["clip_shape"]
    cost = count_cost(
        model["name"], tuple(shape), num_classes=classes, options=dict(model["options"])
    )
    return {
        "model": model["name"],
        "options": model["options"],
        "clip_shape": shape,
        "params": cost.params,
        "macs": cost.macs,
        "non_local_macs": cost.non_local_macs,
    }


def answers_of(result: Found, root: str) -> Found:
    """What the network said of every video of its fold: path below the root, class, answer."""
    videos = [
        [Path(relpath(one["path"], root)).as_posix(), one["class"], one.get("predicted") or ""]
        for one in result["videos"]
    ]
    return {"right": sum(truth == answer for _, truth, answer in videos), "answers": videos}


def text_of(found: Found) -> str:
    """As JSON, every training on a line."""
    head = json_text({**found, "trainings": None}, indent=1)
    lines = ",\n  ".join(json_text(one) for one in found["trainings"])
    return head.replace('"trainings": null', f'"trainings": [\n  {lines}\n ]') + "\n"


def comparison_of(found: Found) -> Comparison:
    """The trainings as rows of a comparison, on the folds that plain and block both have.

    A seed of a row counts where it has all of these. Folds are drawn for the intervals: the videos
    of one share their recordings and the network that answered. Of one fold alone videos are drawn.
    """
    trained = {key_of(one): one for one in found["trainings"]}
    first = min(seed for _, seed, _ in trained)
    folds = sorted(
        {fold for _, _, fold in trained if all((r, first, fold) in trained for r in (PLAIN, BLOCK))}
    )
    rows = []
    for name, network in found["networks"].items():
        for seed in sorted({seed for row, seed, _ in trained if row == name}):
            if not folds or any((name, seed, fold) not in trained for fold in folds):
                continue
            answers = [tuple(a) for fold in folds for a in trained[name, seed, fold]["answers"]]
            score = Score(sum(truth == answer for _, truth, answer in answers), len(answers))
            shape = tuple(network["clip_shape"])
            costs = {key: network[key] for key in ("params", "macs", "non_local_macs")}
            rows.append(
                Row(
                    f"{name}, seed {seed}", network["model"], clip_shape=shape, **costs,
                    top1=score.as_dict(), answers=answers, group=name, seed=seed,
                )
            )  # fmt: skip
    place = {video: fold for fold in folds for video, *_ in trained[PLAIN, first, fold]["answers"]}
    groups = place if len(folds) > 1 else {}
    census = Counter(truth for _, truth, _ in rows[0].answers) if rows else Counter()
    data = {
        "root": found["data"], "split": f"{len(folds)} of {found['folds']} folds",
        "videos": len(place), "census": dict(census), "shortcut": found["shortcut"],
    }  # fmt: skip
    return Comparison(
        rows,
        differences=differences(rows, groups=groups),
        protocol={"data": data, "views": found["protocol"].get("views", "")},
        class_names=found["classes"],
        video_groups=groups,
    )


def save_picture(found: Found, path: Path) -> None:
    """Accuracy against cost, with the lines of what needs no picture."""
    save_chart(comparison_of(found), path)


def claim(comparison: Comparison) -> str:
    """The verdict on the block, or that there is none below the shortcut."""
    pair = {row.name: row.top1 for row in comparison.shown if row.name in (PLAIN, BLOCK)}
    floor = comparison.shortcut
    lows = [interval_of(score)[0] for score in pair.values() if score]
    if floor is not None and not any(low > floor for low in lows):
        return (
            f"Nothing is claimed: neither {PLAIN} nor {BLOCK} is, by its interval, above the "
            f"{100 * floor:.1f} % that facts about the files alone tell."
        )
    (item,) = (d for d in comparison.differences if {d.first, d.second} == {PLAIN, BLOCK})
    return verdict_words(item, comparison)


def markdown(found: Found) -> str:
    """How much of it is done, the table with what needs no picture, and the verdict."""
    comparison = comparison_of(found)
    data, trainings = comparison.protocol["data"], found["trainings"]
    done = (
        f"{len(trainings)} of {found['planned']} planned trainings are in it"
        + (", the others are still to be made" if len(trainings) < found["planned"] else "")
        + f"; both networks have answered {data['split']}, {data['videos']} of {found['videos']} "
        "videos."
    )
    if data["videos"] < found["videos"]:
        return fill(f"{done} The table stands here as soon as they have answered all.", 100)
    lines = [
        *(fill(done, 100), ""),
        *(f"![accuracy against cost, and what needs no picture]({found['data']}.png)", ""),
        "| network | parameters (M) | GMACs (GFLOPs) | top-1 (%) [95 %] | by seed |",
        "|---|---|---|---|---|",
    ]
    for row in comparison.shown:
        seeds = [one.top1["value"] for one in comparison.rows if one.group == row.name and one.top1]
        score, macs = row.top1 or {}, (row.macs or 0) / 1e9
        interval = interval_text(*interval_of(score), data["videos"])
        lines.append(
            f"| {row.name} | {(row.params or 0) / 1e6:.3f} | {macs:.3f} ({2 * macs:.3f}) | "
            f"{100 * score['value']:.1f} {interval} | "
            f"{', '.join(f'{100 * value:.1f}' for value in seeds)} |"
        )
    if (constant := comparison.constant) is not None:
        lines.append(f"| the most frequent class | – | – | {100 * constant:.1f} | – |")
    shortcut = found["shortcut"]
    if isinstance(shortcut, dict):
        facts = "size, rate, length, codec and bytes of the files"
        value = f"{100 * shortcut['value']:.1f} (of all {shortcut['videos']} videos)"
        lines.append(f"| {facts} | – | – | {value} | – |")
    return "\n".join([*lines, "", *wrap(claim(comparison), 100)] if comparison.rows else lines)


def main(argv: Sequence[str]) -> int:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", help="the data set")
    parser.add_argument("--folds", type=positive, default=10, help="of whole groups (default: 10)")
    parser.add_argument("--group", help="as --data.group of train.py fit (default: the same)")
    parser.add_argument("--seeds", type=positive, default=3, help="of plain and embedded Gaussian")
    parser.add_argument("--out", type=Path, help="of the trainings (default: runs/cross/DIR)")
    parser.add_argument("--result", type=Path, help="default: benchmarks/results/DIR.json")
    given, flags = parser.parse_known_args(argv)
    name = Path(given.folder).resolve().name
    given.out = given.out or Path("runs/cross") / name
    given.result = given.result or RESULTS / f"{name}.json"
    with claimed(folder=given.out):
        return measure(given, flags)


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:], "cross_validated.py"))
