"""``videonl prepare SRC DST``: re-encode a data set so that clips are read several times faster."""

import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videonl.claims import claimed
from videonl.cli.check import list_lost, list_missing
from videonl.cli.main import make_parser
from videonl.cli.values import add_shard, numbers, say_part, take_shard
from videonl.errors import OutputError, VideoNLError
from videonl.escapes import visible
from videonl.files import remove_part, text_of, whole_stream
from videonl.limits import Limit, above, check_limits, usable_cores, whole
from videonl.shards import about_set, shard_path
from videonl.shares import counted

if TYPE_CHECKING:
    from videonl.data.walk import Walk

JOURNAL = "videonl_prepare.jsonl"
LISTS = (".csv", ".txt", ".tsv", ".json")
PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow"),
)
SECTIONS = ("data", "model")  # of a training's configuration


def parser() -> Any:
    """The command's arguments."""
    result = make_parser(
        "videonl prepare",
        "Re-encode every video below SOURCE to TARGET as H.264 with dense key frames and without "
        "B-frames, the short side scaled down. Folders, lists and csv files keep their structure. "
        "An interrupted run continues when it is started again. Files on the skip list of videonl "
        "check are left out.",
    )
    result.add_argument("source", help="the data set")
    result.add_argument("target", help="the folder to write")
    result.add_argument(
        "--short-side",
        type=whole(2, 16_384),
        help="short side in pixels (default: the one that the training of --config needs)",
    )
    result.add_argument(
        "--config",
        metavar="FILE",
        help="configuration of the training, as for videonl train fit (default: its defaults)",
    )
    result.add_argument("--enlarge", action="store_true", help="also scale smaller videos up")
    result.add_argument(
        "--key-frames",
        "--keyint",
        type=whole(1, 100_000),
        default=8,
        help="frames from one key frame to the next",
    )
    result.add_argument(
        "--quality",
        "--crf",
        type=whole(0, 51),
        default=23,
        help="H.264 CRF, lower is better and larger",
    )
    result.add_argument("--preset", choices=PRESETS, default="fast", help="speed of x264")
    result.add_argument(
        "--skip-list", help="files to leave out (default: SOURCE/videonl_skip.tsv if it exists)"
    )
    result.add_argument(
        "--workers", type=whole(0, 1024), default=0, help="processes; 0: one per core"
    )
    result.add_argument("--timeout", type=above(0, 1e9), default=1800.0, help="seconds per file")
    result.add_argument("--memory", type=whole(0, 1e9), default=4096, help="MB per process")
    add_shard(result)
    return result


def main(argv: Sequence[str]) -> int:
    """Re-encode a data set; the exit code is 1 if a file failed."""
    options = parser().parse_args(argv)
    needed, why = needed_side(options.config)
    options.short_side = options.short_side or needed
    source, target = (os.path.abspath(folder) for folder in (options.source, options.target))
    for inner, outer in ((options.target, options.source), (options.source, options.target)):
        if any(inside(real(inner), real(outer)) for real in (os.path.abspath, os.path.realpath)):
            raise VideoNLError(f"{inner} lies inside {outer}; choose another folder")
    take_shard(options)
    skip_list = os.path.abspath(options.skip_list) if options.skip_list else None
    size = f"short side {options.short_side}"
    if options.short_side != needed:
        size += f" (the training needs {needed})"
    print(f"{size}: {why}")
    found, paths = find_sources(source, target, skip_list)
    targets, shard = plan(paths, source, target), options.shard
    about = {}
    if shard:
        work = {"source": source, "skip_list": skip_list, "settings": recipe_of(options)}
        about = {"command": "prepare", **work, **about_set(shard, paths, failed_inputs=0)}
        targets = {path: targets[path] for path in shard.of(paths)}
    journal = shard_path(Path(target, JOURNAL), shard.rank) if shard else None
    with claimed(folder=target, shared=shard is not None), claimed(journal):
        results = encode(targets, options, Path(target), about=about)
        copied = []
        if shard is None or shard.rank == 0:
            copy_folders(found.folders, source, target)
            copied = copy_lists(source, target)
    failed = report(results, targets, source)
    if copied:
        print(f"lists copied: {', '.join(copied)}")
    list_lost(found.lost, source)
    if shard:
        say_part(shard, options.target)
    return 1 if failed or found.lost else 0


def merge(target: Path) -> int:
    """What many processes have prepared; exit code 1 if some is missing or failed.

    Raises:
        VideoNLError: there are no parts, or they do not belong together.
    """
    from videonl.video.sandbox.jobs import read_parts, stamp

    target = target.resolve()
    with claimed(target / JOURNAL):
        parts = read_parts(target / JOURNAL)
        source, recipe = str(parts.about["source"]), parts.about["settings"]
        found, paths = find_sources(source, str(target), parts.about.get("skip_list"))
        targets = plan(paths, source, str(target))
        entries = {p: parts.journal.current(p, stamp(p), recipe) for p in paths}
        results = {
            path: entry
            for path, entry in entries.items()
            if entry and (entry.get("error") or os.path.isfile(targets[path]))
        }
        parts.write(results.values())
    failed = report(results, targets, source)
    list_lost(found.lost, source)
    missing = list_missing(parts, [p for p in paths if p not in results], source)
    return 1 if failed or found.lost or missing else 0


def find_sources(source: str, target: str, skip_list: str | None) -> tuple["Walk", list[str]]:
    """The files in the source, and the videos among them that are to be prepared.

    Raises:
        VideoNLError: a link in it leads into the target.
    """
    from videonl.data.census import read_skip_list
    from videonl.data.walk import walk_data

    skipped = read_skip_list(source, skip_list)
    found = walk_data(source)
    for folder in found.folders:
        if inside(os.path.realpath(folder), os.path.realpath(target)):
            raise VideoNLError(f"{folder} is a link into {target}; remove the link")
    paths = [path for path in found.videos if os.path.abspath(path) not in skipped]
    left_out = len(found.videos) - len(paths)
    if left_out or skip_list:
        print(f"left out by the skip list: {left_out} of {counted(len(found.videos), 'file')}")
    return found, paths


def recipe_of(options: Any) -> dict[str, Any]:
    """How every file is encoded; primitives."""
    from videonl.video.encoding import Recipe

    size = (options.short_side, options.key_frames, options.quality)
    return asdict(Recipe(*size, options.preset, options.enlarge))


def needed_side(config: str | None) -> tuple[int, str]:
    """(the short side that a training takes its clips from, the reason for the user).

    Raises:
        VideoNLError: there is no such file, or it holds no settings.
    """
    from videonl.cli.train.flags import read_yaml
    from videonl.cli.train.settings import CROP_SHARE

    content = read_yaml(config) if config else {}
    sections = (content.get(key) for key in SECTIONS)
    data, model = ({} if not isinstance(part, dict) else part for part in sections)
    side, crop, jitter = (data.get(key) for key in ("short_side", "crop", "jitter"))
    if isinstance(jitter, str):
        jitter = numbers(jitter)
    for key, value in (("short_side", side), ("crop", crop)):
        if value is not None:
            check_limits({f"data.{key}": whole(1, 4096)}, {f"data.{key}": value})
    if jitter is not None:
        pair = Limit(1, 16_384, integral=True, length=2, rising=True)
        check_limits({"data.jitter": pair}, {"data.jitter": jitter})
    side = side or (round(crop / CROP_SHARE) if crop else size_of_network(model))
    low, high = jitter or (side, round(side * 1.25))
    sizes = str(high) if low == high else f"{low} to {high}"
    training = config or "videonl train fit"
    return high, f"{training} takes clips of a short side of {sizes}"


def size_of_network(model: dict[str, Any]) -> int:
    """The short side of the clips that a configuration's network is made for."""
    if not isinstance(model.get("name"), str):
        return 256
    import torch

    from videonl.models import create_model

    try:
        with torch.device("meta"):
            network = create_model(model["name"], **(model.get("options") or {}))
    except (TypeError, ValueError) as error:
        raise VideoNLError(f"model: {error}") from error
    return int(network.preprocessing["short_side"])  # type: ignore[index]


def inside(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies below it."""
    return f"{path}{os.sep}".startswith(f"{folder}{os.sep}")


def copy_folders(folders: Sequence[str], source: str, target: str) -> None:
    """Make every folder in the target, since a class may have no readable video.

    Raises:
        OutputError: one cannot be made.
    """
    for folder in folders:
        place = Path(target, os.path.relpath(folder, source))
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(place, error.strerror or str(error)) from error


def plan(paths: Sequence[str], source: str, target: str) -> dict[str, str]:
    """Source file -> target file: the same place, ending in .mp4.

    Raises:
        VideoNLError: two sources would become one file.
    """
    targets: dict[str, str] = {}
    taken: dict[str, str] = {}
    for path in paths:
        place = os.path.join(target, os.path.splitext(os.path.relpath(path, source))[0] + ".mp4")
        if place in taken:
            raise VideoNLError(f"{path} and {taken[place]} would both become {place}; rename one")
        targets[path] = place
        taken[place] = path
    return targets


def encode(
    targets: dict[str, str], options: Any, out: Path, *, about: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Source file -> journal entry, of all files.

    Args:
        targets: source file -> target file.
        options: of the command.
        out: where the journal lies.
        about: what it says of all parts, where this is one.
    """
    from rich.console import Console
    from rich.progress import track

    from videonl.video.sandbox.jobs import Journal, run_jobs, stamp

    recipe = recipe_of(options)
    journal = Journal(out / JOURNAL, shard=options.shard)
    if about:
        journal.say(about)
    results: dict[str, dict[str, Any]] = {}
    jobs: list[dict[str, Any]] = []
    for path, place in targets.items():
        known = journal.current(path, stamp(path), recipe)
        if known and not known.get("error") and os.path.isfile(place):
            results[path] = known
        else:
            jobs.append({"path": path, "target": place, "recipe": recipe})
    if results:
        print(f"already prepared: {len(results)} of {counted(len(targets), 'file')}")
    running = run_jobs(
        "encode",
        jobs,
        workers=min(options.workers or usable_cores(), max(1, len(jobs))),
        timeout=options.timeout,
        memory_mb=options.memory,
    )
    console = Console(stderr=True)
    try:
        for job, answer in track(
            running, "preparing", total=len(jobs), console=console, disable=not jobs
        ):
            path = job["path"]
            if answer.pop("output", False):  # the next one will not fit on the disk either
                raise VideoNLError(f"{answer['error']}; run the same command again to continue")
            if "failed" in answer:
                remove_part(job["target"])
                answer = {"frames": 0, "error": f"{answer['failed']} while encoding"}
            results[path] = journal.add(path, stamp(path), recipe, answer)
    finally:
        running.close()  # kills the processes
        for job in jobs:
            if job["path"] not in results:
                remove_part(job["target"])
    return results


def copy_lists(source: str, target: str) -> list[str]:
    """Copy lists (text, csv, JSON) of the top two levels, in UTF-8 where they name videos.

    Paths in them then end in .mp4, and absolute ones lead to the target.
    """
    from videonl.data.walk import VIDEO_EXTENSIONS

    endings = "|".join(sorted(e[1:] for e in VIDEO_EXTENSIONS))
    pattern = re.compile(rf"\.(?:{endings})(?=[\s,;\"']|$)", re.IGNORECASE | re.MULTILINE)
    copied = []
    for file in sorted([*Path(source).glob("*.*"), *Path(source).glob("*/*.*")]):
        name = file.relative_to(source)
        if file.suffix.lower() not in LISTS or file.name.startswith("videonl_"):
            continue
        try:
            content = file.read_bytes()
        except OSError as error:
            raise VideoNLError(f"the list {file} cannot be read ({error.strerror})") from error
        text = text_of(content)
        changed = pattern.sub(".mp4", text.replace(f"{source}{os.sep}", f"{target}{os.sep}"))
        with whole_stream(Path(target) / name) as stream:
            same = changed == text
            stream.write(content if same else changed.encode("utf-8", "surrogateescape"))
        copied.append(str(name))
    return copied


def report(
    results: dict[str, dict[str, Any]], targets: dict[str, str], source: str
) -> dict[str, str]:
    """Print the census: files, frames, bytes, failures; the failures and why."""
    failed = {path: entry["error"] for path, entry in results.items() if entry.get("error")}
    done = [path for path in results if path not in failed]
    before = sum(os.path.getsize(path) for path in done)
    after = sum(os.path.getsize(targets[path]) for path in done)
    frames = sum(results[path]["frames"] for path in done)
    print(
        f"prepared {len(done)} of {counted(len(results), 'file')}, {counted(frames, 'frame')}, "
        f"{before / 1e6:.1f} MB -> {after / 1e6:.1f} MB"
    )
    for path, why in sorted(failed.items())[:20]:
        print(f"  failed  {visible(os.path.relpath(path, source))}  {visible(why)}")
    if len(failed) > 20:
        print(f"  and {len(failed) - 20} more")
    return failed
