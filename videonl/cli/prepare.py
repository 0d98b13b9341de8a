"""``videonl prepare SRC DST``: re-encode a data set so that clips are read several times faster."""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from videonl.cli.main import make_parser
from videonl.errors import VideoNLError
from videonl.escapes import visible

JOURNAL = "videonl_prepare.jsonl"


def parser() -> Any:
    """The command's arguments."""
    result = make_parser(
        "videonl prepare",
        "Re-encode every video below SOURCE to TARGET as H.264 with dense key frames and without "
        "B-frames, the short side scaled down. Folders, lists and csv files keep their structure. "
        "An interrupted run goes on where it was. Files on the skip list of `videonl check` are "
        "left out.",
    )
    result.add_argument("source", help="the data set")
    result.add_argument("target", help="the folder to write")
    result.add_argument("--short-side", type=int, default=256, help="pixels")
    result.add_argument("--enlarge", action="store_true", help="scale smaller videos up, too")
    result.add_argument(
        "--key-frames", "--keyint", type=int, default=8, help="a key frame every so many"
    )
    result.add_argument(
        "--quality", "--crf", type=int, default=23, help="H.264 CRF, lower is better and larger"
    )
    result.add_argument("--preset", default="fast", help="x264 speed: ultrafast to veryslow")
    result.add_argument(
        "--skip-list", help="files to leave out (default: SOURCE/videonl_skip.tsv if it exists)"
    )
    result.add_argument("--workers", type=int, default=0, help="processes; 0 = one per core")
    result.add_argument("--timeout", type=float, default=1800.0, help="seconds per file")
    result.add_argument("--memory", type=int, default=4096, help="MB per process")
    return result


def main(argv: Sequence[str]) -> int:
    """Re-encode a data set; exit code 1 if some file could not be."""
    options = parser().parse_args(argv)
    if min(options.short_side, options.key_frames) < 1 or not 0 <= options.quality <= 51:
        raise VideoNLError("--short-side and --key-frames must be at least 1, --quality 0 to 51")
    source, target = (os.path.abspath(folder) for folder in (options.source, options.target))
    if f"{target}{os.sep}".startswith(f"{source}{os.sep}"):
        raise VideoNLError(f"{options.target} lies inside {options.source}; choose another folder")
    from videonl.data.skip_list import read_skip_list
    from videonl.data.walk import walk_videos

    skipped = read_skip_list(source, options.skip_list)
    found = walk_videos(source)
    paths = [path for path in found if os.path.abspath(path) not in skipped]
    if len(paths) < len(found):
        print(f"{len(found) - len(paths)} of {len(found)} files are on the skip list: left out")
    targets = plan(paths, source, target)
    results = encode(targets, options, Path(target))
    copied = copy_lists(source, target)
    failed = {path: entry["error"] for path, entry in results.items() if entry.get("error")}
    report(results, targets, failed, source)
    if copied:
        print(f"lists copied: {', '.join(copied)}")
    return 1 if failed else 0


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


def encode(targets: dict[str, str], options: Any, out: Path) -> dict[str, dict[str, Any]]:
    """Source file -> journal entry, of all files."""
    from rich.console import Console
    from rich.progress import track

    from videonl.data.encoding import Recipe
    from videonl.data.jobs import Journal, run_jobs, stamp

    recipe = asdict(
        Recipe(
            options.short_side,
            options.key_frames,
            options.quality,
            options.preset,
            options.enlarge,
        )
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VideoNLError(f"can not write to {out} ({error.strerror})") from error
    journal = Journal(out / JOURNAL)
    results, jobs = {}, []
    for path, place in targets.items():
        known = journal.current(path, stamp(path), recipe)
        if known and not known.get("error") and os.path.isfile(place):
            results[path] = known
        else:
            jobs.append({"path": path, "target": place, "recipe": recipe})
    if results:
        print(f"{len(results)} of {len(targets)} files were prepared before")
    running = run_jobs(
        "encode",
        jobs,
        workers=min(options.workers or os.cpu_count() or 1, max(1, len(jobs))),
        timeout=options.timeout,
        memory_mb=options.memory,
    )
    for job, answer in track(
        running, "preparing", total=len(jobs), console=Console(stderr=True), disable=not jobs
    ):
        if "failed" in answer:
            Path(f"{job['target']}.tmp").unlink(missing_ok=True)
            answer = {"frames": 0, "error": f"{answer['failed']} while encoding"}
        path = job["path"]
        results[path] = journal.add(path, stamp(path), recipe, answer)
    return results


def copy_lists(source: str, target: str) -> list[str]:
    """Copy list and csv files of the top two levels.

    Paths in them then end in .mp4, and absolute ones lead to the target.
    """
    from videonl.data.records import VIDEO_EXTENSIONS

    endings = "|".join(sorted(e[1:] for e in VIDEO_EXTENSIONS))
    pattern = re.compile(rf"\.(?:{endings})(?=[\s,\"]|$)", re.IGNORECASE | re.MULTILINE)
    copied = []
    for file in sorted([*Path(source).glob("*.*"), *Path(source).glob("*/*.*")]):
        name = file.relative_to(source)
        if file.suffix.lower() not in (".csv", ".txt", ".tsv") or file.name.startswith("videonl_"):
            continue
        place = Path(target) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            text = file.read_text(encoding="utf-8").replace(
                f"{source}{os.sep}", f"{target}{os.sep}"
            )
            place.write_text(pattern.sub(".mp4", text), "utf-8")
        except UnicodeDecodeError:
            shutil.copyfile(file, place)
        copied.append(str(name))
    return copied


def report(
    results: dict[str, dict[str, Any]],
    targets: dict[str, str],
    failed: dict[str, str],
    source: str,
) -> None:
    """The census: files, frames, bytes, failures."""
    done = [path for path in results if path not in failed]
    before = sum(os.path.getsize(path) for path in done)
    after = sum(os.path.getsize(targets[path]) for path in done)
    frames = sum(results[path]["frames"] for path in done)
    print(
        f"prepared {len(done)} of {len(results)} files, {frames} frames, "
        f"{before / 1e6:.1f} MB -> {after / 1e6:.1f} MB"
    )
    for path, why in sorted(failed.items())[:20]:
        print(f"  failed  {visible(os.path.relpath(path, source))}  {visible(why)}")
    if len(failed) > 20:
        print(f"  and {len(failed) - 20} more")
