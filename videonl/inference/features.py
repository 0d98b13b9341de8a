"""Features of a video: the output of a layer of the network for sliding windows."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from videonl.errors import VideoNLError
from videonl.escapes import json_text, parse_json
from videonl.files import whole_stream
from videonl.inference.predictor import Predictor
from videonl.inference.prefetch import behind
from videonl.inference.windows import Damage, Windows, stream_windows
from videonl.models.finite import check_answers
from videonl.video.decoding.container import split_span
from videonl.video.given import Given, name_of
from videonl.video.transfer import Arrival, sent
from videonl.video.transforms import to_clips
from videonl.video.video import Video

_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding)
_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
)


def channel_axis(
    module: nn.Module | None,
    shape: Sequence[int],
    *,
    layer: str,
    smaller: Callable[[], Sequence[int]],
) -> int:
    """The axis of the channels.

    For a layer of known type it is known. For every other (a block, a dropout), it is the one axis
    that keeps its size when the clips become smaller: time, rows, columns and tokens do not.

    Args:
        module: the layer; None: a feature map (B, C, T, H, W).
        shape: of its output, (B, ...), at least two axes.
        layer: its name, for the message.
        smaller: gives the shape of its output for clips of half the length and half the size.

    Raises:
        VideoNLError: no axis or several keep their sizes.
    """
    if len(shape) == 2 or module is None or isinstance(module, _FIRST):
        return 1
    if isinstance(module, _LAST):
        return len(shape) - 1
    large = [axis for axis in range(1, len(shape)) if shape[axis] != 1]
    if len(large) > 1:
        try:
            other = list(smaller())
        except (RuntimeError, ValueError, AssertionError):
            other = []  # a network for one size alone
        kept = [axis for axis in large if len(other) == len(shape) and other[axis] == shape[axis]]
    else:
        kept = large or [1]
    if len(kept) != 1:
        raise VideoNLError(
            f"the layer {layer!r} returns {' x '.join(map(str, shape))} values, and the axis of "
            "its channels cannot be determined; choose a convolution, a norm or a linear layer"
        )
    return kept[0]


POOL = "pool"


class LayerReached(Exception):
    """Raised to leave the network: what comes after the layer is not computed."""


@dataclass(frozen=True)
class Features:
    """The features of one video, a row per window.

    Attributes:
        values: float32 (N, C), averaged over time and space within the window.
        start: float64 (N,), the start of each window, seconds as a player shows them.
        end: float64 (N,), likewise its end.
    """

    values: np.ndarray
    start: np.ndarray
    end: np.ndarray


class FeatureExtractor:
    """Features of a layer, with the network and the preprocessing of a predictor.

    It sets a hook on its network while it works, so one extractor serves one thread at a time.

    Args:
        predictor: has network, preprocessing, device, decoder.
        layer: ``"pool"``: the input of the classifier, the last feature map averaged; or any
            submodule by its name, such as ``res4`` or ``res4.5.non_local``.
        windows: the places of the windows.

    Raises:
        VideoNLError: no such layer.
    """

    def __init__(self, predictor: Predictor, *, layer: str = POOL, windows: Windows) -> None:
        self.predictor = predictor
        self.layer = layer
        self.windows = windows
        self.shown = predictor.preprocessing.changed(frames=windows.frames, views=(1, 1))
        self._network = LayerOutput(predictor.model, layer).eval()
        self._channels: int | None = None  # the axis of the channels, once known

    def about(self) -> dict[str, object]:
        """The settings under which features are comparable; primitives."""
        return {
            "model": self.predictor.made_by(),
            "preprocessing": self.shown.to_dict(),
            "decoder": self.predictor.decoder,
            "layer": self.layer,
            "window": self.windows.window,
            "stride": self.windows.stride,
        }

    def extract(self, video: Given, *, fps: float | None = None) -> Features:
        """The features of a video of any length, in bounded memory.

        A window with damaged frames has no row, unless the predictor conceals damage.

        Args:
            video: a path, or anything that ``Predictor.predict`` takes.
            fps: frames per second of frames in memory.

        Raises:
            VideoError: the file cannot be read.
        """
        kept: list[int] = []
        damage = Damage(conceal=self.predictor.conceal)
        with self.predictor.opened(video, fps=fps, forgiving=True) as source:
            track, times = self._sampled(source)
            starts = self.windows.starts(len(track))
            seconds = self.windows.seconds(starts, times, end=source.end)
            stream = stream_windows(source, self.windows, track=track, preprocessing=self.shown)
            size = self.predictor.max_views_per_forward

            def queued() -> Iterator[Callable[[], np.ndarray]]:
                for numbers, clips in _batches(damage.kept(stream), size):
                    yield self._queued(clips)
                    kept.extend(numbers)

            rows = list(behind(queued()))
        if said := damage.tell(name_of(video), len(starts)):
            self.predictor.note(said)
        return Features(np.concatenate(rows), *seconds[kept].T)

    def _sampled(self, video: Video) -> tuple[np.ndarray, np.ndarray]:
        """(frame numbers, seconds at which each appears): all, or one per tick, as trained."""
        shown = self.predictor.shown(video)
        times = video.times()
        track = shown.track(len(times), times=times, end=video.end)
        return track, shown.track_times(len(track), times)

    def features(self, frames: Tensor) -> np.ndarray:
        """uint8 (N, T, H, W, 3) -> float32 (N, C).

        Raises:
            NotFiniteError: the network's output is NaN or infinite.
        """
        return self._queued(frames)()

    @torch.inference_mode()
    def _queued(self, frames: Tensor) -> Callable[[], np.ndarray]:
        """As ``features``, but only queued; a call of what is returned waits for it."""
        mean, std = self.shown.colours
        clips = to_clips(sent(frames, self.predictor.device), mean=mean, std=std)
        output = self.predictor.engine(self._network, clips)
        if not isinstance(output, Tensor) or output.dim() < 2 or len(output) != len(frames):
            raise VideoNLError(
                f"the layer {self.layer!r} does not return one tensor per clip; choose another"
            )
        if self._channels is None:
            self._channels = self._channel_axis(clips, output)
        if output.dim() > 2:
            output = output.movedim(self._channels, 1).flatten(2).mean(2)
        values = Arrival(output.float())
        return lambda: check_answers(values.wait()).numpy()

    def _channel_axis(self, clips: Tensor, output: Tensor) -> int:
        def smaller() -> Sequence[int]:
            time, height, width = (max(1, size // 2) for size in clips.shape[2:])
            answer = self._network(clips[:1, :, :time, :height, :width])
            return answer.shape if isinstance(answer, Tensor) else ()

        return channel_axis(self._network.layer, output.shape, layer=self.layer, smaller=smaller)


class LayerOutput(nn.Module):
    """A network that ends with one of its layers.

    Args:
        model: the network.
        layer: :data:`POOL` or the name of a submodule.

    Raises:
        VideoNLError: no such layer.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        super().__init__()
        if layer != POOL:
            find_layer(model, layer)
        self.name, self.model = layer, model

    @property
    def layer(self) -> nn.Module | None:
        """The layer; None for :data:`POOL`. Not a submodule of this module, which has it once."""
        return None if self.name == POOL else find_layer(self.model, self.name)

    def forward(self, clips: Tensor) -> Any:
        """Clips (B, 3, T, H, W) -> the output of the layer."""
        layer = self.layer
        if layer is None:
            return self.model.forward_features(clips)  # type: ignore[operator]
        outputs: list[object] = []

        def leave(_: nn.Module, __: object, output: object) -> None:
            outputs.append(output)
            if not torch.compiler.is_exporting():  # exporting drops unused parts by itself
                raise LayerReached

        handle = layer.register_forward_hook(leave)
        try:
            self.model(clips)
        except LayerReached:
            pass
        finally:
            handle.remove()
        if not outputs:
            raise VideoNLError(f"the network does not use its layer {self.name!r}; choose another")
        return outputs[0]

    def extra_repr(self) -> str:
        """The layer's name."""
        return self.name


def _batches(stream: Iterator[tuple[int, Tensor]], size: int) -> Iterator[tuple[list[int], Tensor]]:
    """(numbers, stack) of at most ``size`` windows."""
    while held := list(islice(stream, size)):
        yield [number for number, _ in held], torch.stack([clip for _, clip in held])


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """A submodule by name.

    Raises:
        VideoNLError: there is none; suggests similar ones.
    """
    names = [known for known, _ in model.named_modules() if known]
    if name in names:
        return model.get_submodule(name)
    near = get_close_matches(name, names, n=3)
    top = [known for known in names if known.count(".") == 0]
    hint = f"did you mean {', '.join(near)}?" if near else f"it has pool, {', '.join(top)}, ..."
    raise VideoNLError(f"the network has no layer {name!r}; {hint}")


SUFFIX = ".npz"
LONGEST = 255  # bytes of a file's name, on usual disks
# What reading a file of any other content raises, beside the errors of zip.
DAMAGED = (OSError, LookupError, ValueError, TypeError, RuntimeError, EOFError, MemoryError)
HALVES = "".join(map(chr, range(0xDC80, 0xDD00)))  # what remains of a letter that was cut in two


def output_paths(
    inputs: Iterable[tuple[str, Sequence[str]]], folder: Path
) -> tuple[dict[str, Path], list[str]]:
    """Video -> its output file: a folder's tree is kept, a single video goes to the top.

    Args:
        inputs: the words of the command line, with the videos found for each.
        folder: where the files go. ``DIR/a/b.mp4`` becomes ``folder/a/b.mp4.npz``.

    Returns:
        The paths, and the videos left out because another one has the same output file.
    """
    paths: dict[str, Path] = {}
    taken: dict[Path, str] = {}
    clashes = []
    for text, videos in inputs:
        for video in videos:
            name = os.path.relpath(video, text) if os.path.isdir(text) else os.path.basename(video)
            path = folder / file_name(name, SUFFIX)
            if taken.setdefault(path, video) == video:
                paths[video] = path
            elif os.path.realpath(taken[path]) != os.path.realpath(video):  # else it is the same
                clashes.append(video)
    return paths, clashes


def file_name(name: str, suffix: str) -> str:
    """The name with a suffix; one that is too long for a file is cut and gets a hash."""
    folder, base = os.path.split(name)
    data = os.fsencode(base)
    if len(data) + len(suffix) > LONGEST:
        digest = hashlib.sha256(data).hexdigest()[:12]
        base = f"{os.fsdecode(data[: LONGEST - len(suffix) - 13]).rstrip(HALVES)}~{digest}"
    return os.path.join(folder, base + suffix)


def save_features(
    path: Path, features: Features, *, about: Mapping[str, object], video: str
) -> None:
    """Write ``features``, ``start``, ``end`` and, as JSON texts, ``about`` and ``video``.

    Raises:
        OutputError: the file cannot be written there.
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
    """Read what ``save_features`` wrote: the features and ``about``.

    Raises:
        VideoNLError: not such a file.
    """
    return _read(path)[:2]


def _read(path: Path) -> tuple[Features, dict[str, Any], str]:
    """Features, ``about`` and the name of the video, as it was typed."""
    try:
        with np.load(path, allow_pickle=False) as content:
            features = Features(content["features"], content["start"], content["end"])
            about, video = (parse_json(str(content[name])) for name in ("about", "video"))
        if not isinstance(about, dict):
            raise ValueError("its settings are not a table")
    except (*DAMAGED, zipfile.BadZipFile, zlib.error) as error:
        raise VideoNLError(f"{path} was not written by videonl extract ({error})") from error
    return features, about, str(video)


def is_done(path: Path, about: Mapping[str, object], *, video: str) -> bool:
    """Whether a video's features exist already.

    Raises:
        VideoNLError: another kind of file, or features of another network, layer, window or video.
    """
    if not path.exists():
        return False
    _, found, of = _read(path)
    wanted = parse_json(json_text(about))
    for key, value in wanted.items():
        if found.get(key) != value:
            raise VideoNLError(
                f"{path} was made with another {key}: give another --out, or --overwrite"
            )
    file, other = split_span(video)[0], split_span(of)[0]
    # From another folder, the name that was typed then leads nowhere.
    if os.path.exists(other) and os.path.exists(file) and not os.path.samefile(file, other):
        raise VideoNLError(
            f"{path} has the features of another video, {of}: give another --out, or --overwrite"
        )
    return True
