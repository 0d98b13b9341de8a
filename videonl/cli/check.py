"""``videonl check DIR``: find the files of a data set that cannot be read, before training."""

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videonl.claims import claimed
from videonl.cli.main import make_parser
from videonl.cli.values import add_shard, say_part, take_shard
from videonl.errors import DatasetError, OutputError, VideoNLError
from videonl.escapes import visible
from videonl.files import csv_line, write_text
from videonl.limits import above, usable_cores, whole
from videonl.shards import about_set, shard_path
from videonl.shares import counted, percent

if TYPE_CHECKING:
    from videonl.data.catalogue import Catalogue
    from videonl.data.walk import Walk
    from videonl.video.sandbox.jobs import Parts

JOURNAL, REPORT = "videonl_check.jsonl", "videonl_check.csv"
COPIES = "videonl_copies.csv"
MOST_LINES = 20  # of files to leave out that are printed
FEW = 5  # pairs and groups that are listed
COLUMNS = (
    "path",
    "status",
    "why",
    "frames",
    "declared",
    "width",
    "height",
    "codec",
    "seconds",
    "rate",
)


def parser() -> Any:
    """The command's arguments."""
    result = make_parser(
        "videonl check",
        "Decode every video below a folder, each in a process with limits of time and memory; "
        f"write a report ({REPORT}) and a skip list, whose files are left out of trainings. "
        "An interrupted check continues when it is started again.",
    )
    result.add_argument("folder", help="the data set")
    result.add_argument("--out", help="folder for the report and the skip list (default: FOLDER)")
    result.add_argument(
        "--workers", type=whole(0, 1024), default=0, help="processes; 0: one per core"
    )
    result.add_argument("--timeout", type=above(0, 1e9), default=120.0, help="seconds per file")
    result.add_argument("--memory", type=whole(0, 1e9), default=4096, help="MB per process")
    result.add_argument("--quick", action="store_true", help="decode the first frame only")
    result.add_argument(
        "--leaks",
        action="store_true",
        help="look for leaks: how well size, frame rate, length and codec of the files alone "
        "predict the class, which videos of different splits are nearly the same "
        f"(all are listed in {COPIES}), and which groups occur in several splits",
    )
    result.add_argument(
        "--group",
        metavar="REGEX",
        help="regular expression that finds the group (camera, subject, sequence) of a video in "
        "its path below FOLDER, for --leaks (default: a common prefix of file names, if any)",
    )
    result.add_argument("--again", action="store_true", help="check all files again")
    add_shard(result)
    return result


def main(argv: Sequence[str]) -> int:
    """Check a folder, or one part of it; the exit code is 1 if bad files were found."""
    options = parser().parse_args(argv)
    from videonl.data.walk import walk_data

    take_shard(options)
    root = os.path.abspath(options.folder)
    catalogue = catalogue_of(root, options)
    found = walk_data(root)
    out, shard = Path(options.out or root), options.shard
    journal = shard_path(out / JOURNAL, shard.rank) if shard else out / JOURNAL
    with elsewhere(), claimed(journal):
        if shard:
            findings = check(
                shard.of(found.videos), options, out, about=about(found.videos, options)
            )
            bad = bad_files(findings)
            print_summary(root, findings, bad)
            say_part(shard, out)
            return 1 if bad or found.lost else 0
        findings = check(found.videos, options, out)
        bad = write_outputs(root, out, findings, found.lost)
    show(root, out, findings, bad, found, catalogue)
    if options.leaks and catalogue is not None:
        print_leaks(root, findings, catalogue, options.group, out)
    return 1 if bad or not is_whole(found, catalogue) else 0


def about(videos: Sequence[str], options: Any) -> dict[str, Any]:
    """The entry of a part's journal that must be the same in all parts."""
    root = os.path.abspath(options.folder)
    work = {"command": "check", "root": root, "settings": {"quick": options.quick}}
    return {**work, **about_set(options.shard, videos, failed_inputs=0)}


@contextmanager
def elsewhere() -> Iterator[None]:
    """Say where else the files can go: by default they lie in the data set, often read-only.

    Raises:
        VideoNLError: one of them cannot be written.
    """
    try:
        yield
    except OutputError as error:
        raise VideoNLError(f"{error}; name another folder with --out") from error


def merge(out: Path) -> int:
    """The report and the skip list of a check by many processes; exit code 1 if some is missing.

    Raises:
        VideoNLError: there are no parts, or they do not belong together.
    """
    from videonl.data.walk import walk_data
    from videonl.video.sandbox.jobs import read_parts, stamp

    with claimed(out / JOURNAL):
        parts = read_parts(out / JOURNAL)
        root, settings = str(parts.about["root"]), parts.about["settings"]
        found = walk_data(root)
        entries = {p: parts.journal.current(p, stamp(p), settings) for p in found.videos}
        findings = {path: entry for path, entry in entries.items() if entry}
        parts.write(findings.values())
        bad = write_outputs(root, out, findings, found.lost)
    catalogue = catalogue_of(root, None)
    show(root, out, findings, bad, found, catalogue)
    missing = list_missing(parts, [p for p, e in entries.items() if not e], root)
    return 1 if bad or missing or not is_whole(found, catalogue) else 0


def bad_files(findings: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Path -> why, of the files that a training leaves out."""
    from videonl.video.inspection import BAD

    return {p: f"{f['status']}: {f['why']}" for p, f in findings.items() if f["status"] in BAD}


def write_outputs(
    root: str, out: Path, findings: dict[str, dict[str, Any]], lost: dict[str, str]
) -> dict[str, str]:
    """Write the report and the skip list; the files on that."""
    from videonl.data.census import FILE_NAME, write_skip_list

    bad = bad_files(findings)
    gone = {path: {"status": "lost", "why": why} for path, why in lost.items()}
    write_report(out / REPORT, root, findings | gone)
    write_skip_list(root, out / FILE_NAME, bad)
    return bad


def show(
    root: str,
    out: Path,
    findings: dict[str, dict[str, Any]],
    bad: dict[str, str],
    found: "Walk",
    catalogue: "Catalogue | None",
) -> None:
    """Print the findings of a whole data set, and the files that they were written to."""
    from videonl.data.census import FILE_NAME
    from videonl.data.walk import others_text

    print_summary(root, findings, bad)
    if found.other:
        print(f"  {others_text(found.other)}")
    print_classes(findings, catalogue)
    print(f"report: {out / REPORT}\nskip list: {out / FILE_NAME} ({counted(len(bad), 'file')})")
    list_lost(found.lost, root)
    census = catalogue.census if catalogue else {}
    for split, part in census.items():
        if part.missing:
            number = f"{part.missing} of {counted(part.listed, 'video')}"
            first = visible(part.examples[0])
            print(f"{split}: {number} of its list are not there (e.g. {first})", file=sys.stderr)


def is_whole(found: "Walk", catalogue: "Catalogue | None") -> bool:
    """Whether all folders could be listed, and all videos of the lists are there."""
    return not found.lost and not (catalogue and any(catalogue.missing.values()))


def list_missing(parts: "Parts", missing: Sequence[str], root: str) -> bool:
    """Print which processes and files are not done; returns whether there are any."""
    for rank in parts.ranks_missing:
        print(f"process {rank} has written nothing yet", file=sys.stderr)
    for rank in parts.ranks_writing:
        print(f"process {rank} is still running: merge again when it has ended", file=sys.stderr)
    if missing:
        again = "" if parts.ranks_writing else ": start the same commands again to continue"
        print(f"not done yet: {counted(len(missing), 'video')}{again}", file=sys.stderr)
    for path in missing[:FEW]:
        print(f"  {visible(os.path.relpath(path, root))}", file=sys.stderr)
    return bool(missing or parts.ranks_writing)


def catalogue_of(root: str, options: Any) -> "Catalogue | None":
    """The classes and splits of the data set; None for another folder, if ``--leaks`` is not given.

    Raises:
        VideoNLError: ``--leaks`` for such a folder, or with an option that excludes it.
    """
    from videonl.data.catalogue import read_catalogue
    from videonl.data.splits import groups_in_both

    leaks = options is not None and options.leaks
    if options is not None and options.group and not leaks:
        raise VideoNLError("--group needs --leaks; give both")
    if leaks and options.shard:
        raise VideoNLError(
            "--leaks compares all videos: give it after videonl merge, without --shard"
        )
    if leaks and options.quick:
        raise VideoNLError("--leaks compares pictures of whole videos; leave --quick out")
    try:
        catalogue = read_catalogue(root)
        if leaks:  # a pattern that finds nothing is refused before hours of decoding
            groups_in_both(catalogue.records, root, group=options.group)
        return catalogue
    except DatasetError:
        if leaks:
            raise
        return None


def check(
    paths: Sequence[str], options: Any, out: Path, *, about: dict[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """Path -> finding, of all files; those of an earlier run are taken from its journal.

    Args:
        paths: of the files.
        options: of the command.
        out: where the journal lies.
        about: what it says of all parts, where this is one.
    """
    from rich.console import Console
    from rich.progress import track

    from videonl.video.sandbox.jobs import Journal, run_jobs, stamp

    journal = Journal(out / JOURNAL, shard=options.shard, forget=options.again)
    if about:
        journal.say(about)
    settings = {"quick": options.quick}
    findings, jobs = {}, []
    for path in paths:
        known = journal.current(path, stamp(path), settings)
        if known and not deserves_more(known, options):
            findings[path] = known
        else:
            jobs.append({"path": path, "quick": options.quick})
    if findings:
        before = f"{len(findings)} of {counted(len(paths), 'file')}"
        print(f"already checked: {before} (--again checks them again)")
    running = run_jobs(
        "inspect",
        jobs,
        workers=min(options.workers or usable_cores(), max(1, len(jobs))),
        timeout=options.timeout,
        memory_mb=options.memory,
    )
    for job, answer in track(
        running, "checking", total=len(jobs), console=Console(stderr=True), disable=not jobs
    ):
        path = job["path"]
        if "failed" in answer:
            answer = failure(answer["failed"], options)
        findings[path] = journal.add(path, stamp(path), settings, answer)
    return findings


def deserves_more(known: dict[str, Any], options: Any) -> bool:
    """Whether to check a file again: its limit is higher now, or ``--leaks`` needs its pictures."""
    if options.leaks and known.get("frames") and "pictures" not in known:
        return True
    limits = {"timeout": options.timeout, "memory": options.memory or float("inf")}
    status = known["status"]
    return status in limits and limits[status] > known.get("limit", 0)


def failure(kind: str, options: Any) -> dict[str, Any]:
    """The finding of a file whose process was killed or died."""
    why = {
        "timeout": f"takes longer than {options.timeout:g} s to decode",
        "memory": f"needs more than {options.memory} MB of memory",
        "crash": "crashes the decoder",
    }[kind]
    limit = {"timeout": options.timeout, "memory": options.memory}.get(kind)
    return {"status": kind, "why": why, **({} if limit is None else {"limit": limit})}


def write_report(file: Path, root: str, findings: dict[str, dict[str, Any]]) -> None:
    """One row per file, sorted by path; for people, so that no name acts in it."""
    lines = [csv_line(COLUMNS)]
    for path, finding in sorted(findings.items()):
        values = [finding.get(column, "") for column in COLUMNS[1:]]
        lines.append(csv_line([visible(os.path.relpath(path, root)), *values]))
    write_text(file, lines)


def print_summary(root: str, findings: dict[str, dict[str, Any]], bad: dict[str, str]) -> None:
    """Counts per status, and the files that are not in order."""
    counts = Counter(finding["status"] for finding in findings.values())
    parts = [f"{number} {status}" for status, number in counts.most_common()]
    print(f"checked {counted(len(findings), 'file')}: {', '.join(parts)}")
    print_census(list(findings.values()))
    skipped = sorted(path for path in findings if path in bad)
    for path in skipped[:MOST_LINES]:
        print(f"  skip  {about_file(path, findings[path], root)}")
    if len(skipped) > MOST_LINES:
        print(f"  and {len(skipped) - MOST_LINES} more in the report")
    for status in counts:
        alike = sorted(p for p in findings if findings[p]["status"] == status and p not in bad)
        if status != "ok" and alike:  # nothing to do about them: one line, however many they are
            more = counted(len(alike) - 1, "more file")
            others = f" (and {more} with the same status)" if alike[1:] else ""
            print(f"  note  {about_file(alike[0], findings[alike[0]], root)}{others}")


def about_file(path: str, finding: dict[str, Any], root: str) -> str:
    """A file, and what is the matter with it."""
    words = f"{finding['status']}: {finding['why']}"
    return f"{visible(os.path.relpath(path, root))}  {visible(words)}"


def list_lost(lost: dict[str, str], root: str) -> None:
    """Print the folders that could not be listed; their files are in no other count."""
    if lost:
        print(f"{counted(len(lost), 'folder')} cannot be listed:", file=sys.stderr)
    for path, why in sorted(lost.items()):
        print(f"  {visible(os.path.relpath(path, root))}: {why}", file=sys.stderr)


def print_census(findings: Sequence[dict[str, Any]]) -> None:
    """What is there: frames, hours, codecs and sizes of the files that decode."""
    readable = [finding for finding in findings if finding.get("frames")]
    if not readable:
        return
    frames = sum(finding["frames"] for finding in readable)
    hours = sum(finding["seconds"] for finding in readable) / 3600
    codecs = Counter(finding["codec"] for finding in readable)
    sizes = Counter(f"{finding['width']}x{finding['height']}" for finding in readable)
    print(f"  {counted(frames, 'frame')}, {hours:.2f} hours")
    for name, counts in (("codecs", codecs), ("sizes", sizes)):
        parts = [f"{kind} ({number})" for kind, number in counts.most_common(5)]
        rest = len(counts) - len(parts)
        print(f"  {name}: {', '.join(parts)}{f' and {rest} more' if rest else ''}")


def print_classes(findings: dict[str, dict[str, Any]], catalogue: "Catalogue | None") -> None:
    """Lengths, rates and sizes per class, and how much of a video a clip covers."""
    from videonl.data.facts import class_lines, cover_line, found_facts
    from videonl.video.preprocessing import Preprocessing

    classes = dict.fromkeys(findings, "all videos")
    if catalogue is not None:
        classes = {
            record.path: ", ".join(catalogue.class_names[n] for n in record.labels)
            for records in catalogue.records.values()
            for record in records
        }
    facts = found_facts(findings, classes)
    if facts:
        print("\n".join(f"  {line}" for line in class_lines(facts, classes)))
        usual = Preprocessing(frames=8, stride=8, short_side=256, crop=224)
        print(f"  {cover_line(facts, usual)} (the default of videonl train fit)")


def print_leaks(
    root: str,
    findings: dict[str, dict[str, Any]],
    catalogue: "Catalogue",
    group: str | None,
    out: Path,
) -> None:
    """One table: the shortcut, near-copies and groups in two splits."""
    from videonl.data.copies import near_copies
    from videonl.data.facts import Look, found_facts
    from videonl.data.shortcut import shortcut_of
    from videonl.data.splits import groups_in_both
    from videonl.video.decoding.container import split_span

    records = [record for part in catalogue.records.values() for record in part]
    facts = found_facts(findings, (record.path for record in records))
    look = Look(facts, len(records), f"{len(facts)} of {counted(len(records), 'video')}, decoded")
    rows = []
    found = shortcut_of(root, records, group=group, look=look)
    if isinstance(found, str):
        rows.append(("shortcut", found))
    else:
        rows += [(f"{k} alone", percent(v, found.videos)) for k, v in found.alone.items()]
        rows.append(("all together", found.text()))
    splits = {
        split_span(record.path)[0]: split
        for split, part in catalogue.records.items()
        for record in part
    }
    pictures = {path: known.get("pictures", "") for path, known in findings.items()}
    pairs, plain = near_copies(pictures, splits)
    shown = {path: visible(os.path.relpath(path, root)) for pair in pairs for path in pair[:2]}
    lines = [csv_line([shown[one], shown[two], f"{share:.3f}"]) for one, two, share in pairs]
    write_text(out / COPIES, [csv_line(("path", "other", "likeness")), *lines])
    several = len(set(splits.values())) > 1
    where = "in different splits" if several else "(there is one split only)"
    rows.append(
        ("near-copies", f"{counted(len(pairs), 'pair')} of nearly identical videos {where}")
    )
    for one, two, share in pairs[:FEW]:
        rows.append(("", f"{shown[one]} ~ {shown[two]}, likeness {share:.2f}"))
    if plain:
        rows.append(("", f"{counted(plain, 'video')} too uniform to be compared"))
    shared, count, words = groups_in_both(catalogue.records, root, group=group)
    if words.startswith("groups ("):
        words = words[len("groups (") : -1]
    words = words.replace("--data.group", "--group")  # as this command calls it
    rows.append(
        ("groups", f"in more than one split: {len(shared)} of {counted(count, 'group')} ({words})")
    )
    rows += [
        ("", f"{visible(name)}: {', '.join(places)}")
        for name, places in sorted(shared.items())[:FEW]
    ]
    print("leaks: what may make a score look better than it is")
    print("\n".join(f"  {name:<15} {text}" for name, text in rows))
    print(f"near-copies: {out / COPIES}")
