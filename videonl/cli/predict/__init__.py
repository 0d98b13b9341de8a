"""``videonl predict`` = ``infer.py``: classify video files."""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from videonl.claims import claimed
from videonl.cli.main import called, make_parser
from videonl.cli.predict import timeline
from videonl.cli.predict.files import folder_of, gather, inputs_of, outputs_of, prints_result
from videonl.cli.values import (
    add_conceal,
    add_engine_flags,
    add_isolation,
    add_network_flags,
    decoding,
    network_options,
    note,
    parse_shard,
    parse_views,
    positive,
    say_protocol,
    take_shard,
    use_engine,
)
from videonl.errors import VideoError, VideoNLError
from videonl.limits import whole
from videonl.shards import Shard, about_set, shard_path
from videonl.shares import counted

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    from rich.console import Console

    from videonl.inference.prediction import Failure, Prediction
    from videonl.inference.predictor import Predictor
    from videonl.inference.show import View
    from videonl.inference.timeline import Timeline
    from videonl.inference.writers import Writer


def part_of(
    videos: list[str], failures: list["Failure"], shard: Shard | None
) -> tuple[list[str], list["Failure"], dict[str, object]]:
    """The files and failures of this process, and the entry that all result files share."""
    if shard is None:
        return videos, failures, {}
    about = about_set(shard, videos, failed_inputs=len(failures))
    return shard.of(videos), failures if shard.rank == 0 else [], about


def open_shard(
    arguments: argparse.Namespace, run: dict[str, object], about: dict[str, object]
) -> "Writer":
    """The result file of this process, without the videos that other processes have done."""
    from videonl.inference.shards import done_by_others, remove_old
    from videonl.inference.writers import JsonLinesWriter

    path, shard = Path(arguments.json), arguments.shard
    own = shard_path(path, shard.rank)
    if not arguments.resume:
        remove_old(path, shard)
    writer = JsonLinesWriter(own, run=run, resume=arguments.resume, about=about)
    if arguments.resume:
        writer.done |= done_by_others(path, shard.rank, run=run)
    return writer


WHOLE = Shard(0, 1)  # says that this process shares the files with no other
HERE = "--shard 0/1 classifies all of them in this process"

EPILOG = """\
Many files on several processes or machines (start killed ones again; merge names missing videos):
  torchrun --nproc-per-node 2 -m videonl.cli.main predict DIR --checkpoint CKPT \\
    --json out.jsonl --resume --quiet
  videonl merge out.jsonl
A file whose name starts with "-" goes after "--":
  videonl predict --checkpoint model.ckpt -- -0kVxoFuMGQ.mp4
Exit code: 0 all files were classified, 1 some were not (they are listed at the end), 2 wrong usage.
"""


def parser_of_predict() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser("videonl predict", "Classify video files with a trained network.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    script = called("predict") == "infer.py"
    parser.epilog = EPILOG.replace("videonl predict", "python infer.py") if script else EPILOG
    parser.add_argument(
        "videos",
        nargs="*",
        metavar="VIDEO",
        help="video file, folder (searched with its subfolders) or pattern",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="CKPT",
        help="a .ckpt of a training or the folder of its run, a .safetensors, the file or the name "
        "of a published network (such as official/i3d_nl_32x2; videonl models lists the names; "
        "downloaded once), or hf:USER/NAME on the hub (default: only for the clips of data/sample, "
        "checkpoints/sample_nl.safetensors)",
    )
    parser.add_argument(
        "--top-k", type=positive, default=5, metavar="K", help="classes to show (default: 5)"
    )
    parser.add_argument(
        "--views",
        type=parse_views,
        metavar="CLIPSxCROPS",
        help="clips along time x crops along the longer side; 1x1 is quickest (default: as the "
        "network was validated, or published: 10x3)",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write JSON; - for standard output; one object per line where FILE ends in .jsonl",
    )
    parser.add_argument("--csv", metavar="FILE", help="write one row per file")
    parser.add_argument(
        "--overlay",
        metavar="FILE.mp4",
        help="write the video with label and bars drawn on it, with its sound; for several videos "
        "give a folder, which gets NAME.mp4 of each; with --timeline the label changes over time",
    )
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="print only the label, one line per file (for several files: file, tab, label)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="skip the files that --json or --csv already holds"
    )
    parser.add_argument(
        "--shard",
        type=parse_shard,
        metavar="RANK/SIZE",
        help="process part RANK (from 0) of SIZE and write FILE.RANK.jsonl; set automatically "
        "under torchrun and in SLURM arrays",
    )
    parser.add_argument(
        "--from-list",
        metavar="FILE",
        help="read more paths from FILE, one per line; - for standard input",
    )
    add_network_flags(parser, videos=True)
    parser.add_argument(
        "--labels", metavar="FILE", help="class names, one per line, if the checkpoint has none"
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)"
    )
    add_engine_flags(parser)
    parser.add_argument(
        "--decoder",
        default="pyav",
        choices=("pyav", "decord", "auto"),
        help="use pyav (default) for untrusted files",
    )
    parser.add_argument(
        "--workers",
        type=whole(0, 1024),
        metavar="N",
        help="files that are decoded ahead, in threads (default: 0 on a CPU, which the network "
        "keeps busy, else as many as there are cores, up to 8)",
    )
    parser.add_argument(
        "--max-views-per-forward",
        type=positive,
        metavar="N",
        help="lower it to save memory; the result is the same (default: about 1 GiB of views, on a "
        "GPU an eighth of its memory)",
    )
    add_conceal(parser)
    timeline.add_arguments(parser)
    add_isolation(parser)
    return parser


def check_usage(arguments: argparse.Namespace) -> None:
    """Refuse options that exclude each other.

    Raises:
        VideoNLError: names the option.
    """
    if not arguments.videos and not arguments.from_list:
        raise VideoNLError("no video given: name files or folders, or give --from-list FILE")
    if arguments.resume and {arguments.csv, arguments.json} <= {None, "-"}:
        raise VideoNLError("--resume needs the output to continue: --json FILE or --csv FILE")
    if arguments.shard and timeline.wanted(arguments):
        raise VideoNLError(
            "parts of the files (--shard, torchrun, SLURM) have no --timeline and no --report, as "
            f"videonl merge does not join them; {HERE}"
        )
    if arguments.shard and not (arguments.json or "").endswith(".jsonl"):
        raise VideoNLError(
            "a part of the files (--shard, torchrun, SLURM) needs --json FILE.jsonl, to be merged; "
            f"{HERE}"
        )
    if arguments.shard and arguments.csv:
        raise VideoNLError(
            "parts of the files write no --csv; leave it out and use videonl merge --csv FILE"
        )
    for option, file in (("--json", arguments.json), ("--csv", arguments.csv)):
        if file and file != "-" and Path(file).is_dir():
            raise VideoNLError(f"{option} {file} is a folder; give a file name")


def open_writers(
    arguments: argparse.Namespace,
    predictor: "Predictor",
    console: "Console",
    about: dict[str, object],
    *,
    several: bool,
) -> tuple[list["Writer"], "View"]:
    """The files to write, and what to print; ``several``: of more than one file."""
    from videonl.inference.show import Labels, Nothing, Tables
    from videonl.inference.writers import CsvWriter, JsonLinesWriter, JsonWriter

    run: dict[str, object] = {
        "model": predictor.made_by(),
        "protocol": predictor.protocol(arguments.views),
    }
    writers: list[Writer] = []
    if arguments.json == "-":
        writers.append(JsonWriter(None, run=run))
    elif arguments.shard:
        writers.append(open_shard(arguments, run, about))
    elif arguments.json:
        kind = JsonLinesWriter if arguments.json.endswith(".jsonl") else JsonWriter
        writers.append(kind(Path(arguments.json), run=run, resume=arguments.resume))
    if arguments.csv:
        top_k = min(arguments.top_k, len(predictor.class_names))
        writers.append(
            CsvWriter(Path(arguments.csv), run=run, top_k=top_k, resume=arguments.resume)
        )
    if prints_result(arguments):
        return writers, Nothing()
    return writers, Labels(named=several) if arguments.quiet else Tables(console)


def classify(
    arguments: argparse.Namespace,
    predictor: "Predictor",
    videos: list[str],
    failures: list["Failure"],
    about: dict[str, object],
) -> int:
    """Classify the files, write and show; returns how many were left out as done.

    Args:
        arguments: of the command.
        predictor: classifies.
        videos: the files of this process.
        failures: what cannot be classified; grows.
        about: what the result file of a shard says of the whole set.
    """
    from videonl.inference.prediction import Prediction
    from videonl.inference.show import ProgressBar, bar_console

    with ExitStack() as stack:
        console = bar_console()
        several = len(videos) + len(failures) > 1
        writers, view = open_writers(arguments, predictor, console, about, several=several)
        for writer in writers:
            stack.callback(writer.close)
        for failure in failures:
            for sink in (*writers, view):
                sink.fail(failure)
        done = set.intersection(*(writer.done for writer in writers)) if writers else set()
        if arguments.overlay:  # that failed, or was not asked for then
            done -= {video for video, file in arguments.overlays.items() if not file.is_file()}
        todo = [video for video in videos if video not in done]
        views = predictor.preprocessing.with_views(arguments.views).num_views
        bar = stack.enter_context(ProgressBar(files=len(todo), views=views, console=console))
        for outcome in predictor.predict_many(
            todo,
            top_k=arguments.top_k,
            views=arguments.views,
            workers=arguments.workers,
            on_views=bar.views,
        ):
            if isinstance(outcome, Prediction) and arguments.overlay:
                burn(arguments, outcome, failures, bar.frames)
            for sink in (*writers, view):
                if isinstance(outcome, Prediction):
                    sink.add(outcome)
                else:
                    sink.fail(outcome)
            if not isinstance(outcome, Prediction):
                failures.append(outcome)
            bar.file()
    return len(videos) - len(todo)


def burn(
    arguments: argparse.Namespace,
    answer: "Prediction | Timeline",
    failures: list["Failure"],
    on_frames: Callable[[int, int], None],
) -> None:
    """Write the overlay of a video; where that fails, ``failures`` grows."""
    from videonl.inference.overlay import captions_of, write_overlay
    from videonl.inference.prediction import Failure
    from videonl.inference.predictor import short_reason

    limits = (arguments.time_limit, arguments.memory_limit) if arguments.isolate else None
    target = arguments.overlays[answer.path]
    try:
        write_overlay(answer.path, target, captions_of(answer), limits=limits, on_frames=on_frames)
    except VideoError as error:
        failures.append(Failure(answer.path, f"no overlay: {short_reason(error, answer.path)}"))


def checkpoint_of_sample(videos: Sequence[str], failures: Sequence["Failure"]) -> str:
    """The committed network for the clips of a clone's ``data/sample``.

    Args:
        videos: what is to be classified.
        failures: what led to no video; the message names the first.

    Raises:
        VideoNLError: other videos; a network has to be named.
    """
    for video in map(Path, videos):
        folders = [p for p in video.resolve().parents if p.parts[-2:] == ("data", "sample")]
        found = [p.parents[1] / "checkpoints" / "sample_nl.safetensors" for p in folders]
        if not any(path.is_file() for path in found):
            break
    else:
        if videos:
            return next(str(path) for path in found if path.is_file())
    lost = f"{failures[0].path}: {failures[0].error}; and " if failures else ""
    raise VideoNLError(
        f"{lost}--checkpoint is missing: give a .ckpt of a training, its run's folder, or a "
        "network by name, such as official/i3d_nl_32x2 (videonl models lists the names)"
    )


def say_views(predictor: "Predictor", views: tuple[int, int] | None) -> None:
    """Print which views the network was validated with, if ``--views`` asks for others."""
    own = predictor.preprocessing
    asked = own.with_views(views)
    if asked != own:
        print(
            f"views     {asked.shown_views}, as asked; the network's accuracy was measured with "
            f"{own.shown_views} (leave out --views for these)",
            file=sys.stderr,
        )


def main(argv: Sequence[str]) -> int:
    """Classify; the exit code is 1 if a file failed."""
    arguments = parser_of_predict().parse_args(argv)
    take_shard(arguments)
    over_time = timeline.wanted(arguments)
    if arguments.shard == WHOLE and (over_time or not (arguments.json or "").endswith(".jsonl")):
        arguments.shard = None
    check_usage(arguments)
    videos, failures = gather(arguments)
    if over_time:
        timeline.check(arguments, len(videos))
    if arguments.overlay:
        from videonl.inference.overlay import overlay_paths

        arguments.overlays = overlay_paths(arguments.overlay, videos)
    if failures and not videos and not any(outputs_of(arguments)):
        return tell_failures(failures, total=len(failures))  # no network is loaded for that
    if arguments.checkpoint is None:
        arguments.checkpoint = checkpoint_of_sample(videos, failures)
        print(f"checkpoint {arguments.checkpoint}", file=sys.stderr)
    folder, shared = folder_of(arguments), arguments.shard is not None
    reads = inputs_of(arguments, videos)
    with claimed(*outputs_of(arguments), reads=reads), claimed(folder=folder, shared=shared):
        return predict(arguments, videos, failures)


def predict(arguments: argparse.Namespace, videos: list[str], failures: list["Failure"]) -> int:
    """Classify, write and show; ``failures`` grows."""
    over_time = timeline.wanted(arguments)
    videos, failures, about = part_of(videos, failures, arguments.shard)
    total = len(videos) + len(failures)
    from videonl.inference.network import MOST_AHEAD

    ahead = MOST_AHEAD if arguments.workers is None else max(1, arguments.workers)
    with decoding(arguments, keep=ahead) as open_video:
        from videonl.class_names import read_class_names
        from videonl.inference.predictor import Predictor

        predictor = Predictor.from_checkpoint(
            arguments.checkpoint,
            device=arguments.device,
            decoder=arguments.decoder,
            max_views_per_forward=arguments.max_views_per_forward,
            class_names=read_class_names(arguments.labels) if arguments.labels else None,
            options=network_options(arguments),
            network=arguments.network,
        )
        predictor.open_video = open_video
        use_engine(arguments, predictor, predictor.preprocessing, predictor.view_probabilities)
        predictor.conceal = arguments.conceal
        if not arguments.quiet:
            say_protocol(arguments.protocol, predictor.preprocessing)
            say_views(predictor, arguments.views)
        if predictor.class_names[0] == "class 0":
            note("the checkpoint has no class names: give a file of them with --labels")
        if over_time:
            timeline.run(arguments, predictor, videos, failures)
            skipped = 0
        else:
            skipped = classify(arguments, predictor, videos, failures, about)
    if skipped:
        print(f"already in the output: {skipped} of {counted(total, 'file')}", file=sys.stderr)
    return tell_failures(failures, total=total)


def tell_failures(failures: list["Failure"], *, total: int) -> int:
    """List what could not be classified; returns the exit code."""
    if not failures:
        return 0
    from videonl.inference.show import list_failures

    print(list_failures(failures, total=total), file=sys.stderr)
    return 1
