"""``videonl push RUN user/name``: a trained network to the Hugging Face hub, with its card."""

from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from videonl.cli.main import make_parser
from videonl.cli.values import note
from videonl.errors import VideoNLError
from videonl.escapes import as_word
from videonl.weights.hub import PREFIX, checked_repository, client_of, push_folder


def main(argv: Sequence[str]) -> int:
    """Write the files, and upload them unless ``--dry-run`` is given."""
    parser = make_parser(
        "videonl push",
        "Upload a network to the Hugging Face hub: weights (safetensors), network, classes and "
        "preprocessing (model.json), and a model card written from the run and its test results. "
        "hf:USER/NAME can then be given wherever a checkpoint is accepted.",
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="a run's folder or any checkpoint, as for videonl predict")
    add(
        "repository",
        metavar="USER/NAME",
        type=parse_repository,
        help="the repository, created if it does not exist",
    )
    add("--private", action="store_true", help="make the repository private")
    add(
        "--licence",
        metavar="NAME",
        help="licence of the weights, such as apache-2.0 (default: that of the weights that the "
        "training started from)",
    )
    add(
        "--dry-run",
        metavar="FOLDER",
        help="write the files there to read them first, and upload nothing",
    )
    add(
        "--model.name",
        dest="network",
        metavar="NAME",
        help="network of the checkpoint if it is not one of videonl, as package.module:function",
    )
    arguments = parser.parse_args(argv)
    name = f"{PREFIX}{arguments.repository}"
    if arguments.dry_run:
        folder = Path(arguments.dry_run)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise VideoNLError(
                f"--dry-run {folder} exists and is not an empty folder; give a new one"
            )
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
    """Write the files, and print a note on what the model card lacks."""
    from videonl.reports.model_card import write_package

    run = write_package(
        arguments.run,
        folder,
        repository=arguments.repository,
        licence=arguments.licence,
        network=arguments.network,
    )
    if run.licence is None:
        note("the card states no licence: give one, such as --licence apache-2.0")
    if not run.results:
        note(
            "the card has no test result: videonl train test --checkpoint "
            f"{as_word(arguments.run)} --data.root DIR writes one beside the checkpoint"
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
