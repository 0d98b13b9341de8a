"""``videonl push RUN user/name``: a trained network to the Hugging Face hub, with its card."""

from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from videonl.cli.main import make_parser
from videonl.cli.values import note
from videonl.errors import VideoNLError
from videonl.weights.hub import PREFIX, checked_repository, client_of, push_folder


def main(argv: Sequence[str]) -> int:
    """Write the files, and upload them unless they are only to be looked at."""
    parser = make_parser(
        "videonl push",
        "Upload a network to the Hugging Face hub: weights (safetensors), network, classes and "
        "preprocessing (model.json), and a model card written from the run and its test results. "
        "Everywhere a checkpoint is accepted, hf:USER/NAME then is one.",
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="a run's folder, or any checkpoint, as of videonl predict")
    add("repository", metavar="USER/NAME", type=parse_repository, help="is made if it is missing")
    add("--private", action="store_true", help="make the repository private")
    add(
        "--licence",
        metavar="NAME",
        help="of the weights, such as apache-2.0 or cc-by-4.0 (default: that of the weights that "
        "the training started from)",
    )
    add(
        "--dry-run",
        metavar="FOLDER",
        help="write the files there and upload nothing: to read the card first",
    )
    add(
        "--model.name",
        dest="network",
        metavar="NAME",
        help="the checkpoint's network where it is outside of videonl, package.module:function",
    )
    arguments = parser.parse_args(argv)
    name = f"{PREFIX}{arguments.repository}"
    if arguments.dry_run:
        folder = Path(arguments.dry_run)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise VideoNLError(f"--dry-run {folder} exists and is no empty folder; give a new one")
        write(arguments, folder)
        print(f"written   {folder} (nothing was uploaded)")
        return 0
    client_of(f"pushing to {name}")  # before the work
    with TemporaryDirectory(prefix="videonl-push-") as place:
        write(arguments, Path(place))
        pushed = push_folder(
            Path(place),
            arguments.repository,
            private=arguments.private,
            message=f"videonl push {Path(arguments.run).name}",
        )
    print(f"pushed    {pushed}")
    print(f"next      videonl predict VIDEO --checkpoint {pushed}")
    return 0


def write(arguments: Namespace, folder: Path) -> None:
    """Write the files, and say what the card lacks."""
    from videonl.reports.model_card import write_package

    run = write_package(
        arguments.run,
        folder,
        repository=arguments.repository,
        licence=arguments.licence,
        network=arguments.network,
    )
    if run.licence is None:
        note("the card states no licence: say --licence, such as --licence apache-2.0")
    if not run.results:
        note(
            "the card has no test result: videonl train test --checkpoint writes one beside the "
            "checkpoint"
        )


def parse_repository(text: str) -> str:
    """``user/name``, with or without ``hf:``.

    Raises:
        ArgumentTypeError: it is no name of a repository.
    """
    try:
        return checked_repository(text.removeprefix(PREFIX))
    except VideoNLError as error:
        raise ArgumentTypeError(str(error)) from None
