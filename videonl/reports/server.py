"""The page of ``videonl serve``: one file, no requests to anywhere else, usable by keyboard."""

from videonl.inference.predictor import Predictor
from videonl.reports.pages import content_hash, render
from videonl.shares import counted


def server_page(predictor: Predictor, *, limit: int, views: tuple[int, int]) -> str:
    """The page for a network.

    Args:
        predictor: the network.
        limit: bytes of a video.
        views: (clips, crops) of a full look.
    """
    return render(
        "server.html",
        limit=limit,
        clips=views[0],
        crops=views[1],
        name=predictor.about["name"],
        checkpoint=predictor.about.get("checkpoint"),
        classes=counted(len(predictor.class_names), "class"),
    )


def server_policy() -> str:
    """The Content-Security-Policy that lets this page work and nothing else."""
    return (
        f"default-src 'none'; style-src '{content_hash('server.css')}'; "
        f"script-src '{content_hash('server.js')}'; connect-src 'self'; form-action 'self'; "
        "img-src data:; media-src blob:; base-uri 'none'; frame-ancestors 'none'"
    )
