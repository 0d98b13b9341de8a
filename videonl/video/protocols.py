"""How the publishers' own tests view a video: the part of a preprocessing beyond the clip.

Taken from their sources: the paper's released code (Caffe2); PySlowFast, which tested
PyTorchVideo's networks too and counts in DATA.TARGET_FPS, 30; MMAction2; GluonCV's
``VideoClsDataset``; torchvision's ``VideoClips`` at 15 frames per second (every second one of 30),
with its ``UniformClipSampler``. GluonCV and torchvision also stretch pictures to one size (340×256,
171×128) where here their shape is kept: pictures of those shapes are shown alike.
"""

from difflib import get_close_matches
from typing import Any

from videonl.errors import VideoNLError
from videonl.video.preprocessing import Preprocessing

RELEASED: dict[str, Any] = {"places": "length", "rounding": "down", "crop_places": "steps"}
FACEBOOK: dict[str, Any] = {
    "places": "free",
    "span": "even",
    "short_video": "pad",
    "fps": 30.0,
    "rounding": "down",
    "crop_places": "up",
}
OPENMMLAB: dict[str, Any] = {"crop_places": "steps"}
GLUONCV: dict[str, Any] = {
    "places": "grid",
    "short_video": "pad",
    "rounding": "down",
    "average": "logits",
}
TORCHVISION: dict[str, Any] = {
    "places": "grid",
    "short_video": "pad",
    "fps": 30.0,
    "views": (5, 1),
    "crop_places": "nearest",
}
PROTOCOLS: dict[str, dict[str, Any]] = {
    "pyslowfast": FACEBOOK,
    "pytorchvideo": FACEBOOK,
    "caffe2": RELEASED,
    "mmaction2": OPENMMLAB,
    "gluoncv": GLUONCV,
    "torchvision": TORCHVISION,
}
# What a protocol decides on, as it is where nothing is said.
DECIDES = ["places", "span", "short_video", "fps", "rate", "views", "test_crop", "rounding"]
DECIDES += ["crop_places", "average"]
USUAL = {name: getattr(Preprocessing, name) for name in DECIDES}


def checked_protocol(name: str) -> str:
    """A name of ``PROTOCOLS``.

    Raises:
        VideoNLError: there is none of that name; suggests similar ones.
    """
    if name not in PROTOCOLS:
        near = get_close_matches(name.lower(), PROTOCOLS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise VideoNLError(f"no protocol {name!r}; it must be one of {', '.join(PROTOCOLS)}{hint}")
    return name


def under_protocol(own: Preprocessing, name: str) -> Preprocessing:
    """The same clips, viewed as in a publisher's test.

    A protocol that counts in frames of one rate takes that of the network's training, where that is
    known: PySlowFast trained at 25 frames per second has a TARGET_FPS of 25.

    Args:
        own: of a network.
        name: of ``PROTOCOLS``.

    Raises:
        VideoNLError: there is none of that name, or such clips cannot be placed like that.
    """
    entries = {**USUAL, **PROTOCOLS[checked_protocol(name)]}
    if entries["fps"] is not None:
        entries["fps"] = own.fps or own.rate or entries["fps"]
    try:
        return own.changed(**entries)
    except VideoNLError as error:
        raise VideoNLError(f"--protocol {name}: {error}") from error
