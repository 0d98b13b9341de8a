"""The published weights by name, as users write it: ``official/i3d_nl_32x2``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from videonl.errors import CheckpointError
from videonl.weights.hub import hub_file, is_hub
from videonl.weights.published_table import GROUPS, MMACTION2_WORDS, Group
from videonl.weights.run_folder import checkpoint_in


@dataclass(frozen=True)
class Published:
    """One published file.

    Attributes:
        name: as a user writes it, ``"pytorchvideo/i3d_r50"``.
        url: where it is.
        family: the reader's name for it.
        model: our network of the same shape.
        clip: frames × stride, or "image".
        top1: accuracy in percent, as published.
        top5: the same over five guesses; None where it is not stated.
        params: in millions.
        licence: of the weights.
        protocol: clips × crops of the accuracy.
        options: settings that the file does not contain.
        megabytes: approximate size of the file.
        digest: the start of its SHA-256, or "" if unknown.
    """

    name: str
    url: str
    family: str
    model: str
    clip: str
    top1: float | None
    top5: float | None
    params: float
    licence: str
    protocol: str
    options: Mapping[str, Any] = field(default_factory=dict)
    megabytes: float = 0.0
    digest: str = ""

    @property
    def file(self) -> str:
        """The name of the file."""
        return self.url.rsplit("/", 1)[-1]


def _entries(group: Group) -> Iterator[Published]:
    """The rows of a group."""
    for row in group.rows.strip().splitlines():
        name, model, clip, top1, top5, params, short = row.split()
        file = short.format(**MMACTION2_WORDS)
        config = file[: -len("_20220812-8e1f2148")]
        folder = f"{file.split('_')[0]}/{config}"
        yield Published(
            f"{group.prefix}/{name}",
            group.stem.format(folder=folder) + file + group.suffix,
            group.family,
            model,
            clip,
            None if top1 == "-" else float(top1),
            None if top5 == "-" else float(top5),
            float(params),
            group.licence,
            group.protocol,
            options=group.graphs.get(name, {}),
            megabytes=float(params) * 4 * group.stored,
            digest=file.rsplit("-", 1)[1] if group.digest else "",
        )


PUBLISHED: tuple[Published, ...] = tuple(entry for group in GROUPS for entry in _entries(group))


def find_published(name: str) -> Published | None:
    """The entry of a name, or None."""
    return next((entry for entry in PUBLISHED if entry.name == name), None)


def find_file(file: str, *, family: str, model: str) -> Published | None:
    """The entry of a file's name, where the file holds what the entry says."""
    wanted = file, family, model
    return next((e for e in PUBLISHED if (e.file, e.family, e.model) == wanted), None)


def clip_preprocessing(clip: str) -> dict[str, int]:
    """Frames and stride of "4x16"; nothing for an image."""
    if "x" not in clip:
        return {}
    frames, stride = map(int, clip.split("x"))
    return {"frames": frames, "stride": stride}


NAMES = " (videonl models lists the names; hf:USER/NAME is one on the hub)"


def local_file(source: str | Path) -> Path:
    """The file of a path, or of a name, published or on the hub, which is downloaded if needed.

    A folder stands for the checkpoint of its run, see ``checkpoint_in``.

    Raises:
        CheckpointError: neither a file nor a name; suggests similar names. See also ``hub_file``.
    """
    if is_hub(source):
        return hub_file(source)
    path = checkpoint_in(source)
    if path.exists():
        return path
    known = find_published(str(source))
    if known is not None:
        from videonl.weights.download import fetch

        return fetch(known)
    near = get_close_matches(str(source), [entry.name for entry in PUBLISHED], n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else NAMES
    raise CheckpointError(f"{source} is neither a file nor the name of published weights{hint}")
