"""``videonl extract``: the features of videos, one ``.npz`` each."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videonl.claims import claimed
from videonl.cli.check import list_missing
from videonl.cli.main import make_parser
from videonl.cli.values import (
    add_conceal,
    add_engine_flags,
    add_isolation,
    add_network_flags,
    add_shard,
    decoding,
    network_options,
    positive,
    say_part,
    say_protocol,
    take_shard,
    use_engine,
)
from videonl.errors import VideoNLError
from videonl.escapes import json_text
from videonl.files import csv_line, write_text
from videonl.shards import about_set, shard_files, shard_path
from videonl.shares import counted

if TYPE_CHECKING:  # torch takes seconds to import: not for --help
    from videonl.inference.features import FeatureExtractor
    from videonl.inference.prediction import Failure

JOURNAL, TABLE = "videonl_extract.jsonl", "videonl_extract.csv"
EPILOG = """\
A file holds features (N, C), start and end (N,) in seconds, and about: a JSON text with the model,
its preprocessing, the layer and the windows. Files that exist already are skipped, so a run
that was stopped continues when it is started again. Read one with numpy.load.
Exit code: 0 all videos have features, 1 some do not (they are listed at the end), 2 wrong usage.
"""


def parser_of_extract() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser("videonl extract", "Write the features of videos, one .npz per video.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add = parser.add_argument
    add("videos", nargs="+", metavar="DIR", help="folder (with subfolders), video file or pattern")
    add("--checkpoint", required=True, metavar="CKPT", help="as for videonl predict")
    add(
        "--out",
        default="features",
        metavar="FOLDER",
        help="folder of the .npz files (default: features)",
    )
    add(
        "--layer",
        default="pool",
        metavar="NAME",
        help="pool (default): the last feature map, averaged; or a submodule, such as res4",
    )
    add(
        "--window",
        type=positive,
        metavar="N",
        help="frames per window, for a network trained by time at its frame rate (default: as "
        "trained; the whole video if its clips are spread over a video)",
    )
    add(
        "--stride",
        type=positive,
        metavar="N",
        help="frames from window to window (default: half a window)",
    )
    add(
        "--frames",
        type=positive,
        metavar="N",
        help="frames of a window that the network sees (default: as trained, at most the window)",
    )
    add("--overwrite", action="store_true", help="also extract again what exists already")
    add_shard(parser)
    add_network_flags(parser, videos=True)
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    add_engine_flags(parser)
    add(
        "--decoder",
        default="pyav",
        choices=("pyav", "decord", "auto"),
        help="use pyav (default) for untrusted files",
    )
    add("--quiet", action="store_true", help="print nothing but failures")
    add_conceal(parser)
    add_isolation(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    """Extract; the exit code is 1 if a video failed."""
    arguments = parser_of_extract().parse_args(argv)
    from videonl.inference.prediction import Failure
    from videonl.inference.show import list_failures

    take_shard(arguments)
    paths, reasons = find_outputs(arguments.videos, Path(), Path(arguments.out))
    out, shard, about = Path(arguments.out), arguments.shard, {}
    if shard:
        work = {"command": "extract", "videos": arguments.videos, "folder": os.getcwd()}
        about = {**work, **about_set(shard, list(paths), failed_inputs=len(reasons))}
        paths = {video: paths[video] for video in shard.of(list(paths))}
        reasons = reasons if shard.rank == 0 else {}
    failures = [Failure(video, why) for video, why in reasons.items()]
    total = len(paths) + len(failures)
    part = shard_path(out / JOURNAL, shard.rank) if shard else None
    claims = claimed(part), claimed(folder=out, shared=shard is not None)
    with claims[0], claims[1], decoding(arguments) as open_video:
        if part:
            say(part, about, [])
        extractor = make_extractor(arguments)
        extractor.predictor.open_video = open_video
        use_engine(arguments, extractor.predictor, extractor.shown, extractor.features)
        extractor.predictor.conceal = arguments.conceal
        written = extract_all(arguments, extractor, paths, failures)
        if part:
            say(part, about, failures)
    if not arguments.quiet:
        skipped = total - written - len(failures)
        before = f" ({skipped} already there)" if skipped else ""
        print(f"{counted(written, 'video')}: {arguments.out}{before}")
        if shard:
            say_part(shard, arguments.out)
    if failures:
        print(list_failures(failures, total=total, what="extracted"), file=sys.stderr)
    return 1 if failures else 0


def say(part: Path, about: dict[str, object], failures: Sequence["Failure"]) -> None:
    """Write the journal of a part: what must be the same in all parts, and its failures."""
    lines = (about, *(failure.as_dict() for failure in failures))
    write_text(part, (json_text(line, ascii=True) + "\n" for line in lines))


def find_outputs(
    inputs: Sequence[str], folder: Path, out: Path
) -> tuple[dict[str, Path], dict[str, str]]:
    """(video -> its file, name -> why it has none).

    Args:
        inputs: as they were typed.
        folder: where that was.
        out: where the files go.
    """
    from videonl.data.walk import VIDEO_EXTENSIONS
    from videonl.inference.features import output_paths
    from videonl.inference.inputs import find_videos

    found, reasons = [], dict[str, str]()
    for text in inputs:
        place = text if folder == Path() else os.path.join(folder, text)
        videos, failed = find_videos([place], extensions=VIDEO_EXTENSIONS)
        found.append((place, videos))
        reasons |= {failure.path: failure.error for failure in failed}
    paths, clashes = output_paths(found, out)
    return paths, reasons | dict.fromkeys(
        clashes, "another video's features would have the same file name; rename one of the videos"
    )


def merge(out: Path) -> int:
    """A table of the features of many processes; exit code 1 if some are missing or failed.

    Raises:
        VideoNLError: there are no parts, or they do not belong together.
    """
    from videonl.inference.prediction import Failure
    from videonl.inference.show import list_failures
    from videonl.video.sandbox.jobs import entries_of, read_parts

    parts = read_parts(out / JOURNAL)
    about, size = parts.about, int(parts.about["shard"]["size"])
    folder = str(about["folder"])
    paths, reasons = find_outputs(about["videos"], Path(folder), out)
    for rank, file in shard_files(out / JOURNAL).items():
        for entry in entries_of(file) if rank < size else ():
            if "error" in entry:
                reasons[os.path.join(folder, str(entry["path"]))] = str(entry["error"])
    done = {video for video, path in paths.items() if path.is_file()}
    failed = {video: why for video, why in reasons.items() if video not in done}
    rows = [("video", "features", "why not")]
    rows += [(v, os.path.relpath(paths[v], out) if v in done else "", failed.get(v, ""))
             for v in sorted({*paths, *failed})]  # fmt: skip
    with claimed(out / TABLE):
        write_text(out / TABLE, map(csv_line, rows))
    print(f"features of {len(done)} of {counted(len(rows) - 1, 'video')}: {out / TABLE}")
    missing = [video for video in paths if video not in done and video not in failed]
    incomplete = list_missing(parts, missing, folder)
    if failed:
        failures = [Failure(video, why) for video, why in sorted(failed.items())]
        print(list_failures(failures, total=len(rows) - 1, what="extracted"), file=sys.stderr)
    return 1 if incomplete or failed else 0


def make_extractor(arguments: argparse.Namespace) -> "FeatureExtractor":
    """The network of the checkpoint with its windows."""
    from videonl.inference.features import FeatureExtractor
    from videonl.inference.predictor import Predictor
    from videonl.inference.windows import Windows

    predictor = Predictor.from_checkpoint(
        arguments.checkpoint,
        device=arguments.device,
        decoder=arguments.decoder,
        options=network_options(arguments),
        network=arguments.network,
    )
    say_protocol(arguments.protocol, predictor.preprocessing)
    shape = predictor.preprocessing
    if shape.sampling == "segments" and arguments.window is None:
        if arguments.stride is not None:
            raise VideoNLError(
                f"--stride {arguments.stride} is for several windows, and the clips of this "
                "network are spread over a whole video: give --window too"
            )
        windows = Windows(window=None, stride=1, frames=arguments.frames or shape.frames)
        return FeatureExtractor(predictor, layer=arguments.layer, windows=windows)
    window = arguments.window or shape.frames * shape.stride
    windows = Windows(
        window=window,
        stride=arguments.stride or max(1, window // 2),
        frames=arguments.frames or min(shape.frames, window),
    )
    return FeatureExtractor(predictor, layer=arguments.layer, windows=windows)


def extract_all(
    arguments: argparse.Namespace,
    extractor: "FeatureExtractor",
    paths: dict[str, Path],
    failures: list["Failure"],
) -> int:
    """Write what is not there yet; returns how many videos that were. ``failures`` grows."""
    from videonl.errors import VideoError
    from videonl.inference.features import is_done, save_features
    from videonl.inference.prediction import Failure
    from videonl.inference.predictor import short_reason
    from videonl.inference.show import StepBar

    about = extractor.about()
    todo = [
        video
        for video, path in paths.items()
        if arguments.overwrite or not is_done(path, about, video=video)
    ]
    written = 0
    with StepBar() as bar:
        bar.report("videos", 0, len(todo))
        for number, video in enumerate(todo, start=1):
            try:
                features = extractor.extract(video)
            except (VideoError, OSError) as error:
                failures.append(Failure(video, short_reason(error, video)))
            else:
                save_features(paths[video], features, about=about, video=video)
                written += 1
            bar.report("videos", number, len(todo))
    return written
