"""The result for one video: plain values, no torch, ready for JSON."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Clip:
    """The frames that the network saw together, the same for every crop of the clip.

    Args:
        frames: frame numbers in the file, in the order they were shown.
        seconds: when they appear, as a player shows it.
        crops: how many crops of these frames were classified.
    """

    frames: tuple[int, ...]
    seconds: tuple[float, ...]
    crops: int

    def as_dict(self) -> dict[str, object]:
        """Primitives; times rounded to microseconds."""
        return {
            "frames": list(self.frames),
            "seconds": [round(second, 6) for second in self.seconds],
            "crops": self.crops,
        }


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one video and how they were computed.

    Args:
        path: the file, as it was given.
        classes: class names, the most probable first.
        probabilities: their probabilities over all views, averaged as ``protocol`` says.
        views: the views that were classified, one entry per clip.
        model: name, number of classes, checkpoint and its SHA-256.
        protocol: views, preprocessing, decoder and how the views were averaged.
        damaged: numbers of damaged frames in these clips.
        concealed: whether they were used, as repaired by the decoder; else their clips are left
            out.
    """

    path: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    views: tuple[Clip, ...]
    model: dict[str, object]
    protocol: dict[str, object]
    damaged: tuple[int, ...] = ()
    concealed: bool = False

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.classes[0]

    def as_dict(self) -> dict[str, object]:
        """Primitives for JSON; ``result`` is the part that differs from file to file."""
        return {**self.result(), "model": self.model, "protocol": self.protocol}

    def result(self) -> dict[str, object]:
        """The file's own part of ``as_dict``, without model and protocol."""
        return {
            "path": self.path,
            "classes": [
                {"class": name, "probability": probability}
                for name, probability in zip(self.classes, self.probabilities, strict=True)
            ],
            "views": [clip.as_dict() for clip in self.views],
            **damage_as_dict(self.damaged, concealed=self.concealed),
        }


def damage_as_dict(damaged: tuple[int, ...], *, concealed: bool) -> dict[str, object]:
    """The entry about damaged frames in a result; empty if there are none."""
    if not damaged:
        return {}
    return {"damaged": {"frames": list(damaged), "concealed": concealed}}


@dataclass(frozen=True)
class Failure:
    """A file that could not be classified, and the sentence that says why."""

    path: str
    error: str

    def as_dict(self) -> dict[str, object]:
        """Primitives for JSON."""
        return {"path": self.path, "error": self.error}
