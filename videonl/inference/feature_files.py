"""Features on disk: one ``.npz`` per video, whole or not there at all."""

import json
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videonl.errors import VideoNLError
from videonl.files import whole_stream
from videonl.inference.features import Features
from videonl.json_text import json_text

SUFFIX = ".npz"


def output_paths(
    inputs: Iterable[tuple[str, Sequence[str]]], folder: Path
) -> tuple[dict[str, Path], list[str]]:
    """Video -> its file: the tree of a folder is kept, a single video lies at the top.

    Args:
        inputs: what was typed, with the videos it led to.
        folder: where the files go. ``DIR/a/b.mp4`` becomes ``folder/a/b.mp4.npz``.

    Returns:
        The paths, and the videos left out because another has the same place.
    """
    paths: dict[str, Path] = {}
    taken: dict[Path, str] = {}
    clashes = []
    for text, videos in inputs:
        for video in videos:
            name = os.path.relpath(video, text) if os.path.isdir(text) else os.path.basename(video)
            path = folder / (name + SUFFIX)
            if taken.setdefault(path, video) == video:
                paths[video] = path
            else:
                clashes.append(video)
    return paths, clashes


def save_features(
    path: Path, features: Features, *, about: Mapping[str, object], video: str
) -> None:
    """Write ``features``, ``start``, ``end`` and, as JSON texts, ``about`` and ``video``.

    Raises:
        OutputError: the file can not be written there.
    """
    with whole_stream(path) as stream:
        np.savez(
            stream,
            features=features.values,
            start=features.start,
            end=features.end,
            about=np.array(json_text(about, ascii=True)),
            video=np.array(json_text(video, ascii=True)),
        )


def load_features(path: Path) -> tuple[Features, dict[str, Any]]:
    """What ``save_features`` wrote: the features and ``about``.

    Raises:
        VideoNLError: not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            features = Features(content["features"], content["start"], content["end"])
            return features, json.loads(str(content["about"]))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise VideoNLError(f"{path} is no file of videonl extract ({error})") from error


def is_done(path: Path, about: Mapping[str, object]) -> bool:
    """Whether a video's features are there already.

    Raises:
        VideoNLError: there is another file, or features of another network, layer or window.
    """
    if not path.exists():
        return False
    _, found = load_features(path)
    wanted = json.loads(json_text(about))
    for key, value in wanted.items():
        if found.get(key) != value:
            raise VideoNLError(
                f"{path} was made with another {key}: give another --out, or --overwrite"
            )
    return True
