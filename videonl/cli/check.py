"""``videonl check DIR``: find the files of a data set that can not be read, before training."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videonl.claims import claimed
from videonl.cli.main import make_parser
from videonl.errors import OutputError, VideoNLError
from videonl.escapes import visible
from videonl.files import csv_line, write_text
from videonl.limits import above, whole

JOURNAL, REPORT = "videonl_check.jsonl", "videonl_check.csv"
COLUMNS = ("path", "status", "why", "frames", "declared", "width", "height", "codec", "seconds")


def parser() -> Any:
    """The command's arguments."""
    result = make_parser(
        "videonl check",
        "Decode every video below a folder, each in a process with limits of time and memory; "
        f"write a report ({REPORT}) and a skip list that training honours. An interrupted check "
        "goes on where it was.",
    )
    result.add_argument("folder", help="the data set")
    result.add_argument("--out", help="folder for the report and the skip list (default: FOLDER)")
    result.add_argument(
        "--workers", type=whole(0, 1024), default=0, help="processes; 0 = one per core"
    )
    result.add_argument("--timeout", type=above(0), default=120.0, help="seconds per file")
    result.add_argument("--memory", type=whole(0, 1e9), default=4096, help="MB per process")
    result.add_argument("--quick", action="store_true", help="decode the first frame only")
    result.add_argument("--again", action="store_true", help="forget what was checked before")
    return result


def main(argv: Sequence[str]) -> int:
    """Check a folder; exit code 1 if bad files were found."""
    options = parser().parse_args(argv)
    from videonl.data.skip_list import FILE_NAME, write_skip_list
    from videonl.data.walk import others_text, walk_data
    from videonl.video.inspection import BAD

    root = os.path.abspath(options.folder)
    found = walk_data(root)
    out = Path(options.out or root)
    with claimed(out / JOURNAL):
        findings = check(found.videos, options, out)
        bad = {p: f"{f['status']}: {f['why']}" for p, f in findings.items() if f["status"] in BAD}
        lost = {path: {"status": "lost", "why": why} for path, why in found.lost.items()}
        write_report(out / REPORT, root, findings | lost)
        write_skip_list(root, out / FILE_NAME, bad)
    print_summary(root, findings, bad)
    if found.other:
        print(f"  {others_text(found.other)}")
    print(f"report: {out / REPORT}\nskip list: {out / FILE_NAME} ({len(bad)} files)")
    list_lost(found.lost, root)
    return 1 if bad or found.lost else 0


def check(paths: Sequence[str], options: Any, out: Path) -> dict[str, dict[str, Any]]:
    """Path -> finding, of all files; those of an earlier run are taken from its journal."""
    from rich.console import Console
    from rich.progress import track

    from videonl.video.jobs import Journal, run_jobs, stamp

    try:
        if options.again:
            write_text(out / JOURNAL, "")
        journal = Journal(out / JOURNAL)
    except OutputError as error:
        raise VideoNLError(f"{error}; name another folder with --out") from error
    settings = {"quick": options.quick}
    findings, jobs = {}, []
    for path in paths:
        known = journal.current(path, stamp(path), settings)
        if known and not deserves_more(known, options):
            findings[path] = known
        else:
            jobs.append({"path": path, "quick": options.quick})
    if findings:
        print(f"{len(findings)} of {len(paths)} files were checked before (--again forgets that)")
    running = run_jobs(
        "inspect",
        jobs,
        workers=min(options.workers or os.cpu_count() or 1, max(1, len(jobs))),
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
    """Whether a file that ran into a limit may use more this time."""
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
    print(f"checked {len(findings)} files: {', '.join(parts)}")
    print_census(list(findings.values()))
    notable = {
        path: f"{finding['status']}: {finding['why']}"
        for path, finding in findings.items()
        if finding["status"] != "ok"
    }
    for path, text in sorted(notable.items())[:20]:
        name = visible(os.path.relpath(path, root))
        print(f"  {'skip' if path in bad else 'note'}  {name}  {visible(text)}")
    if len(notable) > 20:
        print(f"  and {len(notable) - 20} more in the report")


def list_lost(lost: dict[str, str], root: str) -> None:
    """The folders that could not be looked into; whatever they hold is not counted anywhere."""
    if lost:
        noun = "folder" if len(lost) == 1 else "folders"
        print(f"{len(lost)} {noun} can not be listed:", file=sys.stderr)
    for path, why in sorted(lost.items()):
        print(f"  {os.path.relpath(path, root)}: {why}", file=sys.stderr)


def print_census(findings: Sequence[dict[str, Any]]) -> None:
    """What is there: frames, hours, codecs and sizes of the files that decode."""
    readable = [finding for finding in findings if finding.get("frames")]
    if not readable:
        return
    frames = sum(finding["frames"] for finding in readable)
    hours = sum(finding["seconds"] for finding in readable) / 3600
    codecs = Counter(finding["codec"] for finding in readable)
    sizes = Counter(f"{finding['width']}x{finding['height']}" for finding in readable)
    print(f"  {frames} frames, {hours:.2f} hours")
    for name, counts in (("codecs", codecs), ("sizes", sizes)):
        parts = [f"{kind} ({number})" for kind, number in counts.most_common(5)]
        rest = len(counts) - len(parts)
        print(f"  {name}: {', '.join(parts)}{f' and {rest} more' if rest else ''}")
