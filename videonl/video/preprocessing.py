"""What a network is shown of a video: one value, and the only place where it is computed.

A network was trained on clips of a certain kind, and its accuracy holds for certain views of a
video. :class:`Preprocessing` holds all of that. It answers two questions, in pure integers:
``indices`` (which frames?) and ``boxes`` (which part of them?). Presets and checkpoints store it;
training, validation, test and every command that answers with a network use it.

A clip is ``frames`` positions on the *track* of its video: the numbers of its frames, or, by time,
one entry per tick of the wanted rate: the frame on display then. So sampling by time is right under
variable frame rates, and drops or repeats frames where the rates differ.

Or its frames are spread over the whole video, whatever its length (``sampling="segments"``, Wang et
al. 2016, Temporal Segment Networks, section 3.1): the track is cut into T equal segments, and a
clip has one frame of each. In training it is drawn at random; view i of n in a test takes the frame
at (2i + 1) / 2n of each segment, so a single view takes the middles.

``picture="whole"`` shows all of a picture instead of a square of it: scaled to fit into a
rectangle, in the middle, with the mean colour around it. There is one such view of a clip, so three
crops count as one.

The file is long because nothing else may compute a frame's number or a crop: entries, their limits
and both answers stand together.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from videonl.errors import VideoNLError
from videonl.limits import MOST_CLIPS, Limit, Rule, Said, above, one_of, optional, shown, whole
from videonl.video.clock import timeline

if TYPE_CHECKING:  # it decodes: not for those who only ask where frames lie
    from videonl.video.decoding.pictures import Scaling

NOTICEABLE = 0.05  # share by which rates differ before clips are taken by time
SENSIBLE_RATES = (1.0, 1000.0)  # frames per second; others are damaged headers
MAX_PIXELS = 2**27  # frames × side²: one view as bytes is then 0.4 GB
MAX_VIEWED = 30 * MAX_PIXELS  # of all views of a video, which are in memory together
CROPS = (1, 3)
CLIP = ("frames", "stride", "short_side", "crop", "mean", "std")  # what every network says
NEEDED = CLIP[:4]
LARGE = 112  # pixels of a crop from which a rectangle's sides are multiples of 16, else of 8
# What does not apply to some clips, and how it stands in their value: equal clips are equal values.
IDLE: dict[tuple[str, str], dict[str, Any]] = {
    ("sampling", "dense"): {"duration": None},
    ("sampling", "segments"): {
        "stride": 1,
        "fps": None,
        "rate": None,
        "short_video": "loop",
        "places": "ends",
        "span": "steps",
    },
    ("picture", "crop"): {"rectangle": None},
    ("picture", "whole"): {"test_crop": None, "crop_places": "ends"},
}
REASONS = {
    "dense": "clips are consecutive frames",
    "segments": "frames are spread over the whole video",
    "crop": "squares are shown",
    "whole": "whole pictures are shown",
}
SIZE = whole(1, 4096)  # of a clip or picture


def _are_views(value: Any) -> bool:
    listed = isinstance(value, (list, tuple)) and len(value) == 2
    return listed and whole(1, MOST_CLIPS).allows(value[0]) and value[1] in CROPS


def _is_stride(value: Any) -> bool:
    # A fraction is never said, only worked out for a file (``for_rate``).
    return isinstance(value, Fraction) or SIZE.allows(value)


RULES: dict[str, Rule] = {
    "frames": SIZE,
    "stride": Said(str(SIZE), _is_stride),
    "short_side": SIZE,
    "crop": SIZE,
    "mean": optional(Limit(-1000, 1000, length=3)),
    "std": optional(Limit(0, 1000, above=True, length=3)),
    "fps": optional(above(0, 1000)),
    "rate": optional(above(0, 1000)),
    "short_video": one_of("loop", "pad"),
    "views": Said(f"1 to {MOST_CLIPS} clips and 1 or 3 crops, such as 10x3", _are_views),
    "test_crop": optional(SIZE),
    "places": one_of("ends", "free", "length", "grid"),
    "span": one_of("steps", "even"),
    "rounding": one_of("nearest", "down"),
    "crop_places": one_of("ends", "up", "steps", "nearest"),
    "average": optional(one_of("mean", "max", "logits")),
    "sampling": one_of("dense", "segments"),
    "duration": optional(above(0, 1e9)),
    "picture": one_of("crop", "whole"),
    "rectangle": optional(
        Said("height and width, such as [96, 160], 4096 at most", replace(SIZE, length=2).allows)
    ),
}


def check_entries(values: Mapping[str, Any]) -> None:
    """Refuse entries that do not exist, and values that they cannot have.

    Args:
        values: some of the entries of a preprocessing, primitives.

    Raises:
        VideoNLError: names the entry, its value and the limit.
    """
    for key, value in values.items():
        if key not in RULES:
            raise VideoNLError(
                f"preprocessing has no entry {shown(key)!r}; its entries are {', '.join(RULES)}"
            )
        if not RULES[key].allows(value):
            raise VideoNLError(f"preprocessing.{key} is {shown(value)}; it must be {RULES[key]}")
    side = max(values.get("short_side", 1), values.get("crop", 1))
    area = max(side**2, math.prod(values.get("rectangle") or (1,)))
    frames, (clips, crops) = values.get("frames", 1), values.get("views", (1, 1))
    for views, most in ((1, MAX_PIXELS), (clips * crops, MAX_VIEWED)):
        if (pixels := views * frames * area) > most:
            size = f"{side}²" if area == side**2 else "x".join(map(str, values["rectangle"]))
            many = f"{clips}x{crops} views of " if views > 1 else ""
            raise VideoNLError(
                f"preprocessing is {many}{frames} frames of {size}, {pixels} pixels; it must be at "
                f"most {most} pixels"
            )


def refuse_idle(entries: Mapping[str, Any], *, sampling: str, picture: str) -> None:
    """Refuse entries that were given but do not apply to such clips.

    Args:
        entries: what was given.
        sampling: of the clips.
        picture: likewise.

    Raises:
        VideoNLError: names the entry and the reason.
    """
    for kind in (("sampling", sampling), ("picture", picture)):
        for name, usual in IDLE.get(kind, {}).items():  # an unknown kind is its value's affair
            value = entries.get(name, usual)
            value = tuple(value) if isinstance(value, list) else value
            if value not in (usual, None):
                raise VideoNLError(
                    f"{name}={shown(entries[name])} does not apply to {kind[0]}={kind[1]}, where "
                    f"{REASONS[kind[1]]}; leave it out"
                )


def rectangle_of(aspect: float, crop: int) -> tuple[int, int]:
    """(height, width) of about crop² pixels and that aspect, in multiples of 16 or 8.

    Args:
        aspect: width / height; beyond 1:8 and 8:1 the rectangle stays there.
        crop: side of the square that would be shown otherwise.
    """
    step = 16 if crop >= LARGE else 8
    root = math.sqrt(min(max(aspect, 1 / 8), 8.0))
    height, width = (max(step, step * round(side / step)) for side in (crop / root, crop * root))
    return height, width


def rates_differ(rate: float, trained: float) -> bool:
    """Whether a file's frames per second noticeably differ from those of the training videos."""
    return abs(rate / trained - 1) > NOTICEABLE


@dataclass(frozen=True)
class Preprocessing:
    """The clips of a network and the views of its test.

    It is also a mapping of primitives: ``value["frames"]``, ``{**value}``.

    Attributes:
        frames: frames per clip, T.
        stride: step between them, in frames of the file (in ticks of ``1 / fps`` seconds).
        short_side: pixels that the shorter side of a picture is scaled to.
        crop: side of the square that is cut out in training and of the centre crop in testing.
        mean: per colour, in units of 0 to 1; None: not stated here (by a data set), the network's.
        std: likewise.
        fps: None: count the file's own frames. A number: sample by time at that rate.
        rate: frames per second of the videos that the network was trained on, if known. A file of
            a noticeably different rate is sampled by time at this one; see ``for_rate``.
        short_video: how a video shorter than the clip goes on: ``"loop"`` starts again at its first
            frame, ``"pad"`` repeats its last one.
        views: (clips along time, crops) of a test. One crop is the centre; three are squares along
            the longer side.
        test_crop: side of those three; None: the whole short side, as the paper tests (section 4).
        places: where the clips of a test begin: ``"ends"``: from the first to the last possible
            place, and one alone in the middle; ``"free"``: clip i of n at i/n of what the clip
            leaves free (PySlowFast, PyTorchVideo); ``"length"``: at i/n of the whole length (the
            paper's released code); ``"grid"``: as ``"ends"``, but on the video's every
            ``stride``-th frame alone, and cut down to whole ones of these (GluonCV, torchvision).
        span: ``"steps"``: T positions, ``stride`` apart; ``"even"``: spread evenly from the first
            to the last of T × stride frames, and cut down to whole numbers (PySlowFast,
            PyTorchVideo). With ``fps`` these are so many frames of that rate, counted in the file's
            own (``for_rate``); so is the ``stride`` of a grid.
        rounding: of the longer side of a scaled picture: to the ``"nearest"`` pixel, or ``"down"``
            (PySlowFast, PyTorchVideo, GluonCV, the paper's released code).
        crop_places: position of the middle one of three crops if the space left is odd:
            ``"ends"``: rounded down; ``"up"``: rounded up (PySlowFast, PyTorchVideo); ``"steps"``:
            rounded down, and the last lies twice as far (MMAction2, the paper's released code);
            ``"nearest"``: half of the space, rounded to even (torchvision).
        average: how the probabilities of the views become one answer: ``"mean"``, ``"max"``,
            ``"logits"``: the mean of what the softmax is taken of (GluonCV); None: the mean for one
            class per video, the maximum for several.
        sampling: ``"dense"``: clips of consecutive frames, ``stride`` apart; ``"segments"``: one
            frame of each of T equal segments of the whole video. Stride, rate, span and places then
            do not apply and keep their defaults.
        duration: for segments: median duration of the training videos in seconds, if known; the
            default window of a timeline.
        picture: ``"crop"``: squares of a picture; ``"whole"``: all of it, in a rectangle.
        rectangle: (height, width) of that; None: the square of ``crop``.
    """

    frames: int
    stride: int
    short_side: int
    crop: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    fps: float | None = None
    rate: float | None = None
    short_video: Literal["loop", "pad"] = "loop"
    views: tuple[int, int] = (10, 3)
    test_crop: int | None = None
    places: Literal["ends", "free", "length", "grid"] = "ends"
    span: Literal["steps", "even"] = "steps"
    rounding: Literal["nearest", "down"] = "nearest"
    crop_places: Literal["ends", "up", "steps", "nearest"] = "ends"
    average: Literal["mean", "max", "logits"] | None = None
    sampling: Literal["dense", "segments"] = "dense"
    duration: float | None = None
    picture: Literal["crop", "whole"] = "crop"
    rectangle: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check every entry and how they go together.

        Raises:
            VideoNLError: names the entry, its value and the limit.
        """
        check_entries({field.name: getattr(self, field.name) for field in fields(self)})
        idle = {**IDLE["sampling", self.sampling], **IDLE["picture", self.picture]}
        for name, value in idle.items():
            object.__setattr__(self, name, value)
        if self.picture == "whole":
            object.__setattr__(self, "views", (self.views[0], 1))
            object.__setattr__(self, "rectangle", self.rectangle or (self.crop, self.crop))
        for name in ("mean", "std", "views", "rectangle"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))
        for name in ("crop", "test_crop"):
            if (getattr(self, name) or 0) > self.short_side:
                raise VideoNLError(
                    f"{name}={getattr(self, name)} is larger than short_side={self.short_side}"
                )

    @classmethod
    def from_dict(cls, values: "Mapping[str, Any] | Preprocessing") -> "Preprocessing":
        """The value of a table of primitives; a ``Preprocessing`` is returned as it is.

        Raises:
            VideoNLError: an entry is missing, unknown or wrong; one sentence that names it.
        """
        if isinstance(values, Preprocessing):
            return values
        check_entries(values)
        for name in NEEDED:
            if name not in values:
                raise VideoNLError(f"preprocessing lacks the entry {name}")
        return cls(**values)

    @classmethod
    def completed(cls, values: Mapping[str, Any], made_for: Mapping[str, Any]) -> "Preprocessing":
        """A table from a checkpoint, with missing clip settings and colours from its network.

        How a test views videos does not depend on the network: entries that ``to_dict`` left out
        have their defaults.

        Raises:
            VideoNLError: see ``from_dict``.
        """
        return cls.from_dict({**{k: made_for[k] for k in CLIP if k in made_for}, **values})

    def to_dict(self) -> dict[str, Any]:
        """Primitives for checkpoints and presets.

        Defaults are left out, so that older versions can read files that need no newer entry.
        """
        found = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                found[field.name] = list(value) if isinstance(value, tuple) else value
        return found

    def keys(self) -> Iterator[str]:
        """The names of all entries."""
        return (field.name for field in fields(self))

    def __getitem__(self, name: str) -> Any:
        if name not in RULES:
            raise KeyError(name)
        value = getattr(self, name)
        return list(value) if isinstance(value, tuple) else value

    def changed(self, **entries: Any) -> "Preprocessing":
        """A copy with other entries.

        Raises:
            VideoNLError: a wrong one.
        """
        check_entries(entries)
        kind = {name: entries.get(name, getattr(self, name)) for name in ("sampling", "picture")}
        refuse_idle(entries, **kind)
        if self.picture == "whole" == kind["picture"] and "rectangle" not in entries:
            for name in ("crop", "short_side"):
                if entries.get(name, getattr(self, name)) != getattr(self, name):
                    raise VideoNLError(
                        f"{name}={entries[name]} has no effect: whole pictures are shown, in a "
                        f"rectangle of {'x'.join(map(str, self.view_size))}; set rectangle instead"
                    )
        return replace(self, **entries)

    def with_views(self, views: tuple[int, int] | None) -> "Preprocessing":
        """A copy with other (clips, crops); None: unchanged."""
        return self if views is None else self.changed(views=views)

    def with_colours(self, other: "Preprocessing") -> "Preprocessing":
        """A copy with the mean and deviation of another value, where this one has none."""
        return replace(self, mean=self.mean or other.mean, std=self.std or other.std)

    @property
    def colours(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, std).

        Raises:
            VideoNLError: they are missing.
        """
        if self.mean is None or self.std is None:
            raise VideoNLError("preprocessing lacks mean and std; give both")
        return self.mean, self.std

    @property
    def scaling(self) -> "Scaling":
        """The size of pictures as arguments of ``Video.read``."""
        if self.rectangle is not None:
            return {"inside": self.rectangle, "rounding": self.rounding}
        return {"short_side": self.short_side, "rounding": self.rounding}

    def scaled_for_training(self, short_side: int) -> "Scaling":
        """Likewise for a clip whose short side was drawn; whole pictures scale alike."""
        if self.rectangle is None:
            return {"short_side": short_side}
        height, width = (max(1, round(s * short_side / self.short_side)) for s in self.rectangle)
        return {"inside": (height, width)}

    @property
    def padding(self) -> tuple[int, ...] | None:
        """The colour around whole pictures, 0 to 255; None for squares, which lie inside.

        Raises:
            VideoNLError: the mean is missing.
        """
        if self.rectangle is None:
            return None
        return tuple(round(255 * min(max(mean, 0.0), 1.0)) for mean in self.colours[0])

    @property
    def counts_frames(self) -> bool:
        """Whether a clip spans a fractional number of the file's own frames, at any rate."""
        return self.span == "even" or self.places == "grid"

    @property
    def by_time(self) -> bool:
        """Whether ``indices`` needs the times of the frames."""
        return self.fps is not None

    def for_rate(self, rate: float) -> "Preprocessing":
        """The value for a file with this many frames per second.

        Where the rate noticeably differs from that of the training videos, clips are taken by time,
        so the network sees motion at the speed that it was trained on. An even span with ``fps``
        covers as many frames of the file as last equally long, as its publishers count; the number
        may be a fraction.
        """
        low, high = SENSIBLE_RATES
        if self.fps is not None and self.counts_frames and low <= rate <= high:
            # As few frames in as few seconds: 30, or 30000/1001, not what is next to it in binary.
            own, wanted = (Fraction(r).limit_denominator(1001) for r in (rate, self.fps))
            covered = Fraction(self.stride) * own / wanted
            return replace(self, stride=covered, fps=None, rate=None)  # type: ignore[arg-type]
        if self.rate is None or self.by_time or not low <= rate <= high:
            return replace(self, rate=None)
        other = rates_differ(rate, self.rate)
        return replace(self, fps=self.rate if other else None, rate=None)

    def seconds(self, rate: float) -> float:
        """How long a clip is in a file with this many frames per second.

        A clip that is spread over the video has the duration of the training videos; infinity where
        that is not known.
        """
        if self.sampling == "segments":
            return self.duration or math.inf
        shown = self.for_rate(rate)
        return float(shown.clip_length) / (shown.fps or rate)

    @property
    def clip_length(self) -> int | Fraction:
        """Positions from the first to the last of a clip, both included."""
        even = self.span == "even"
        return self.frames * self.stride if even else (self.frames - 1) * self.stride + 1

    @property
    def view_side(self) -> int:
        """Side of the square views of a test, in pixels."""
        return self.crop if self.views[1] == 1 else self.test_crop or self.short_side

    @property
    def clip_size(self) -> tuple[int, int]:
        """(H, W) of a clip in training."""
        return self.rectangle or (self.crop, self.crop)

    @property
    def view_size(self) -> tuple[int, int]:
        """(H, W) of a view of a test."""
        return self.rectangle or (self.view_side, self.view_side)

    @property
    def view_shape(self) -> tuple[int, int, int]:
        """(T, H, W) of a view of a test."""
        return self.frames, *self.view_size

    @property
    def num_views(self) -> int:
        """Views per video, clips × crops."""
        return self.views[0] * self.views[1]

    @property
    def shown_views(self) -> str:
        """``10x3 of 8x256²``, ``1x1 of 8x96x160``: views of a test and their size, for messages."""
        height, width = self.view_size
        size = f"{height}²" if self.rectangle is None else f"{height}x{width}"
        return f"{self.views[0]}x{self.views[1]} of {self.frames}x{size}"

    @property
    def shown_steps(self) -> str:
        """``stride 8``, or that the frames are spread over the video, for messages."""
        fps = self.fps or self.rate
        if self.sampling == "segments":
            return "spread over the video"
        return f"stride {self.stride}{f' at {fps:g} fps' if fps else ''}"

    def asks_crops(self, views: tuple[int, int] | None) -> str:
        """A note if three crops are asked for but whole pictures are shown; else ""."""
        if self.rectangle is None or views is None or views[1] == 1:
            return ""
        return f"whole pictures are shown, so three crops are the same view: {views[0]}x1 is used"

    def protocol(self) -> dict[str, Any]:
        """How a video is viewed, as stored in results; primitives."""
        entries = self.to_dict()
        entries.pop("views", None)
        clips, crops = self.views
        about: dict[str, Any] = {"views": f"{clips}x{crops}", "clips": clips, "crops": crops}
        if self.rectangle is None:
            about["view_side"] = self.view_side
        if self.sampling == "segments":
            del entries["stride"]
        return {**about, **entries}

    def track(
        self,
        num_frames: int,
        *,
        times: Sequence[float] | np.ndarray | None = None,
        end: float | None = None,
    ) -> np.ndarray:
        """int64: the frame of every position, counted in frames or in ticks.

        Args:
            num_frames: in the video.
            times: seconds of all frames; needed where ``by_time``.
            end: seconds at which the last one disappears; see :func:`timeline`.
        """
        if num_frames < 1:
            raise ValueError(f"a video needs at least one frame, got num_frames={num_frames}")
        if self.fps is None:
            return np.arange(num_frames, dtype=np.int64)
        if times is None:
            raise ValueError("sampling by time (fps) needs the times of the frames")
        if len(times) != num_frames:
            raise ValueError(f"times of all frames ({num_frames}) are needed, got {len(times)}")
        return timeline(times, self.fps, end=end)

    def track_times(self, length: int, times: np.ndarray) -> np.ndarray:
        """float64: seconds of every position of a track; ``times``: those of all frames."""
        return times if self.fps is None else times[0] + np.arange(length) / self.fps

    def indices(
        self,
        num_frames: int,
        *,
        times: Sequence[float] | np.ndarray | None = None,
        end: float | None = None,
    ) -> list[list[int]]:
        """Frame numbers of every clip of a test; the arguments are those of :meth:`track`."""
        track = self.track(num_frames, times=times, end=end)
        if self.sampling == "segments":
            clips = self.views[0]
            return [self._spread(num_frames, Fraction(2 * i + 1, 2 * clips)) for i in range(clips)]
        return [self._clip(track, start) for start in self._starts(len(track))]

    def random_indices(
        self,
        num_frames: int,
        generator: np.random.Generator,
        *,
        times: Sequence[float] | np.ndarray | None = None,
        end: float | None = None,
    ) -> list[int]:
        """Frame numbers of a training clip, at a random place, or random ones of every segment.

        The generator is one of :func:`sample_generator`, the other arguments are those of
        :meth:`track`.
        """
        track = self.track(num_frames, times=times, end=end)
        if self.sampling == "segments":
            drawn = generator.integers(0, num_frames, size=self.frames).tolist()
            return [(k * num_frames + n) // self.frames for k, n in enumerate(drawn)]
        return self._clip(
            track, Fraction(int(generator.integers(0, int(self._free(len(track))) + 1)))
        )

    def indices_from(
        self, second: float, *, times: Sequence[float] | np.ndarray, end: float
    ) -> list[int]:
        """Frame numbers of a clip that starts at a second of a player, or ends with the video.

        With segments, the clip is spread over the rest of the video. The other arguments are those
        of :meth:`track`.
        """
        track = self.track(len(times), times=times, end=end)
        if self.fps is None:
            first = int(np.searchsorted(times, second + 1e-6, side="right")) - 1
        else:
            first = int((second - float(times[0])) * self.fps + 1e-3)
        if self.sampling == "segments":
            first = min(max(first, 0), len(times) - 1)
            return [first + k for k in self._spread(len(times) - first, Fraction(1, 2))]
        return self._clip(track, Fraction(min(max(first, 0), self._free(len(track)))))

    def boxes(self, height: int, width: int) -> list[tuple[int, int, int, int]]:
        """(top, left, height, width) of every crop of a test in scaled pictures of that size.

        One crop is the centre; three lie at the start, middle and end of the longer side, centred
        on the other. With whole pictures, the rectangle begins outside of the picture (top and left
        are 0 or negative) and is filled with ``padding``.
        """
        if self.rectangle is not None:
            tall, wide = self.rectangle
            return [(-((tall - height) // 2), -((wide - width) // 2), tall, wide)]
        side = self.view_side
        if side > min(height, width):
            raise VideoNLError(
                f"a view of {side}x{side} does not fit into {height}x{width} pictures; short_side "
                f"is {self.short_side}"
            )
        up = self.crop_places == "up"
        tall, wide = height - side, width - side
        top, left = (tall + up) // 2, (wide + up) // 2
        if self.crop_places == "nearest":
            top, left = round(tall / 2), round(wide / 2)
        if self.views[1] == 1:
            return [(top, left, side, side)]
        if width >= height:
            last = 2 * left if self.crop_places == "steps" else wide
            return [(top, x, side, side) for x in (0, left, last)]
        last = 2 * top if self.crop_places == "steps" else tall
        return [(y, left, side, side) for y in (0, top, last)]

    def random_box(
        self, height: int, width: int, generator: np.random.Generator
    ) -> tuple[int, int, int, int]:
        """(top, left, height, width) of a training clip in pictures of that size.

        Where whole pictures are smaller than their rectangle they lie anywhere in it; where they
        are larger, the rectangle lies anywhere in them.
        """
        tall, wide = self.clip_size
        if self.rectangle is None and (height < tall or width < wide):
            raise VideoNLError(f"a crop of {tall}x{wide} does not fit into {height}x{width} frames")
        places = []
        for free in (height - tall, width - wide):
            drawn = int(generator.integers(abs(free) + 1))
            places.append(drawn if free >= 0 else -drawn)
        return places[0], places[1], tall, wide

    def _free(self, length: int) -> int | Fraction:
        """Number of places of a clip on a track, not counting the first one."""
        return max(0, length - self.clip_length)

    def _grid(self, length: int) -> int:
        """Frames that remain of a track if only every ``stride``-th one is used."""
        step = Fraction(self.stride)
        return max(1, -(-length // step) if step.denominator == 1 else length // step)

    def _spread(self, length: int, place: Fraction) -> list[int]:
        """The frame at a given share of each of T equal segments of the video; integers."""
        part, whole = place.numerator, place.denominator
        return [(k * whole + part) * length // (whole * self.frames) for k in range(self.frames)]

    def _starts(self, length: int) -> list[Fraction]:
        clips, free = self.views[0], self._free(length)
        if self.places == "length":
            return [Fraction(i * length // clips) for i in range(clips)]
        if self.places == "free":
            return [i * Fraction(free) / clips for i in range(clips)]
        if self.places == "grid":
            step, free = Fraction(self.stride), max(0, self._grid(length) - self.frames)
            places = [free // 2] if clips == 1 else [i * free // (clips - 1) for i in range(clips)]
            return [place * step for place in places]
        if clips == 1:
            return [Fraction(free // 2)]
        # Halves go to the even place, as numpy rounds and so MMAction2.
        return [Fraction(round(i * Fraction(free) / (clips - 1))) for i in range(clips)]

    def _clip(self, track: np.ndarray, start: Fraction) -> list[int]:
        """Frame numbers of the clip that begins at a position of the track."""
        step = Fraction(self.stride)
        if self.span == "even" and self.frames > 1:
            step = Fraction(self.clip_length - 1) / (self.frames - 1)
        places = np.array([int(start + k * step) for k in range(self.frames)], np.int64)
        last = len(track) - 1
        if self.places == "grid" and start % step == 0:  # drawn or asked for, it lies anywhere
            last = int((self._grid(len(track)) - 1) * step)
        places = places % len(track) if self.short_video == "loop" else np.minimum(places, last)
        return [int(frame) for frame in track[places]]


def sample_generator(seed: int, epoch: int, index: int, rank: int = 0) -> np.random.Generator:
    """The random generator of one sample, the same whichever worker draws it."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, epoch, index, rank))))
