"""From file to answer: frames -> views -> network -> mean of the softmax -> class names.

    predictor = Predictor.from_checkpoint("model.ckpt")
    print(predictor.predict("clip.mp4").label)

Testing uses the same functions, ``read_views`` and ``to_clips``, so both get the same numbers.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from videonl.class_names import choose_names
from videonl.errors import VideoError, VideoNLError
from videonl.inference.engines import Engine, TorchEngine, make_engine
from videonl.inference.network import (
    choose_device,
    network_name,
    origin_of,
    prepare_network,
    videos_ahead,
    views_that_fit,
)
from videonl.inference.prediction import Clip, Failure, Prediction
from videonl.inference.prefetch import Ahead, behind
from videonl.inference.windows import Damage, shorter_than_a_clip
from videonl.models.finite import check_answers
from videonl.models.norms import fuse_for_inference
from videonl.models.view_ensembling import average_name, over_views, probabilities_of
from videonl.shares import counted
from videonl.video.given import Frames, Given, is_path, name_of, opened, rate_for
from videonl.video.preprocessing import Preprocessing
from videonl.video.transfer import Arrival, sent
from videonl.video.transforms import to_clips
from videonl.video.video import Video, open_video
from videonl.video.views import Views, read_views, settled
from videonl.weights.checkpoint import load_checkpoint
from videonl.weights.hub import hub_file, is_hub
from videonl.weights.run_folder import checkpoint_in


class Predictor:
    """Classifies videos with one network.

    ``predict`` may be called from several threads at once: nothing is written to the network. Every
    video is computed on its own, so its result does not depend on other files, their order or the
    number of workers; ``max_views_per_forward`` changes it only by float32's rounding.

    Args:
        model: a network with the contract of ``create_model``.
        class_names: one per logit.
        preprocessing: what the network is shown of a video, also as a table of primitives.
        device: where to compute; ``"auto"`` takes a GPU where there is one.
        decoder: ``"pyav"`` (default): its FFmpeg is maintained, so it is the decoder for untrusted
            files; ``"decord"`` or ``"auto"`` for your own files.
        max_views_per_forward: limits the memory; None: about 1 GiB of activations, on a GPU an
            eighth of its memory.
        about: the content of ``Prediction.model``: name, checkpoint, sha256.
        multi_label: a video may have several classes: each has its own probability, the highest
            over the views.
        fuse: work with a copy whose norms are folded into its convolutions: faster, and equal up
            to the rounding of float32. False: use the given network itself, unchanged.

    Raises:
        VideoNLError: an unknown device, or fewer than one view at a time.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        class_names: Sequence[str],
        preprocessing: Preprocessing | Mapping[str, Any],
        device: str | torch.device = "auto",
        decoder: Literal["auto", "pyav", "decord"] = "pyav",
        max_views_per_forward: int | None = None,
        about: Mapping[str, object] | None = None,
        multi_label: bool = False,
        fuse: bool = True,
    ) -> None:
        if max_views_per_forward is not None and max_views_per_forward < 1:
            raise VideoNLError(
                f"max_views_per_forward must be at least 1, got {max_views_per_forward}"
            )
        self.device = choose_device(device)
        self.model = prepare_network(model, device=self.device, fuse=fuse)
        self.class_names = list(class_names)
        self.preprocessing = Preprocessing.from_dict(preprocessing)
        self.decoder, self.multi_label = decoder, multi_label
        self.open_video: Callable[..., Video] = open_video  # or DecoderPool.open
        self.conceal = False  # use damaged frames as repaired by the decoder
        self.say: Callable[[str], None] = lambda _: None  # called once with each note for the user
        self.engine: Engine = TorchEngine()  # see compute_with
        self.trained_videos: str | None = None  # see VideoDataModule.trained_videos
        self._said: set[str] = set()
        self.max_views_per_forward = max_views_per_forward or views_that_fit(
            self.preprocessing, device=self.device
        )
        self.about: dict[str, object] = {
            "name": network_name(model),
            "num_classes": len(self.class_names),
            **(about or {}),
        }

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        device: str | torch.device = "auto",
        decoder: Literal["auto", "pyav", "decord"] = "pyav",
        max_views_per_forward: int | None = None,
        class_names: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        network: str | None = None,
        fuse: bool = True,
    ) -> "Predictor":
        """Load a checkpoint: the network, its class names and its preprocessing.

        Args:
            path: a ``.ckpt`` of ``train.py`` or the folder of its run, a ``.safetensors``, a
                published checkpoint, the name of published weights, or one on the hub
                (``hf:user/name``).
            device: see the class.
            decoder: see the class.
            max_views_per_forward: see the class.
            fuse: see the class.
            class_names: names for the logits if the file has none; if it has some, the same names
                in another order are refused, other names replace them.
            options: of the network, where a published file does not state all; see
                ``load_checkpoint``.
            network: the name of the network, if it is not one of videonl's
                (``package.module:function``): a file never imports code on its own.

        Raises:
            CheckpointError: the file is missing, unsafe or of an unknown format.
            VideoNLError: class names that do not fit.
        """
        place = choose_device(device)
        path = hub_file(path) if is_hub(path) else checkpoint_in(path)
        loaded = load_checkpoint(path, options=options, network=network)
        names = choose_names(
            loaded.class_names,
            given=class_names,
            count=int(getattr(loaded.model, "config", {}).get("num_classes", 0)) or None,
            source=str(path),
        )
        made = cls(
            fuse_for_inference(loaded.model, in_place=True) if fuse else loaded.model,
            class_names=names,
            preprocessing=loaded.preprocessing,
            device=place,
            decoder=decoder,
            max_views_per_forward=max_views_per_forward,
            about=origin_of(path, loaded.provenance),
            multi_label=loaded.multi_label,
            fuse=False,
        )
        made.trained_videos = loaded.provenance.get("trained_videos")
        return made

    def compute_with(self, engine: str = "torch", *, precision: str = "32") -> None:
        """Choose the backend that computes the network from now on; recorded in ``about``.

        Args:
            engine: ``"torch"``, or ``"openvino"`` on a CPU.
            precision: ``"32"``, or ``"bf16"``, which is fast on GPUs and on CPUs with AMX.

        Raises:
            VideoNLError: an unknown name, a missing package, or an unsupported device.
        """
        self.engine = make_engine(engine, precision=precision, device=self.device, say=self.note)

    def made_by(self) -> dict[str, object]:
        """The entry of a result: the network, and the backend if it is not the default."""
        return {**self.about, **self.engine.about}

    def protocol(self, views: tuple[int, int] | None = None) -> dict[str, object]:
        """How a video is viewed, as recorded in the result."""
        shown = self.preprocessing.with_views(views)
        average = average_name(multi_label=self.multi_label, average=shown.average)
        return {**shown.protocol(), "decoder": self.decoder, "average": average}

    def opened(
        self, video: Given, *, fps: float | None = None, forgiving: bool = False
    ) -> AbstractContextManager[Video]:
        """A video as for ``predict``, open for a ``with`` block.

        A ``forgiving`` caller has to check ``Video.damaged``, see ``open_video``.

        Raises:
            VideoError: it cannot be read, or is not a video; see ``videonl.video.given``.
        """
        return opened(
            video,
            fps=fps,
            open_video=self.open_video,
            decoder=self.decoder,
            forgiving=forgiving,
        )

    def read(
        self, video: Given, *, views: tuple[int, int] | None = None, fps: float | None = None
    ) -> Views:
        """Decode a video's views; each frame is decoded once for all of them.

        Raises:
            VideoError: the file cannot be read.
        """
        with self.opened(video, fps=fps, forgiving=True) as source:
            shown = self.shown(source, views)
            if said := shorter_than_a_clip(source, shown, name_of(video)):
                self.note(said, kind="short")
            return read_views(source, shown)

    def note(self, text: str, *, kind: str = "") -> None:
        """Pass a sentence to ``say``, each kind only once.

        Args:
            text: one sentence.
            kind: sentences of one kind are said once; default: the text itself.
        """
        if (kind or text) not in self._said:
            self._said.add(kind or text)
            self.say(text)

    def shown(self, video: Video, views: tuple[int, int] | None = None) -> Preprocessing:
        """The preprocessing for a file; notes once where it differs from what was trained on."""
        shown, _ = settled(video, self.preprocessing.with_views(views))
        if text := shown.asks_crops(views):
            self.note(text, kind="crops")
        if shown.by_time and not self.preprocessing.by_time:
            self.note(
                f"{os.fspath(video.path)} has {video.fps:.4g} frames per second, but the network "
                f"was trained at {shown.fps:g}: clips of such files are sampled by time (--fps "
                "keep counts frames)",
                kind="rate",
            )
        if video.high_range:
            self.note(
                f"{os.fspath(video.path)} is of high dynamic range ({video.high_range}): its "
                "colours are taken as they are stored, paler than those of other videos; convert "
                "it to standard range to be sure",
                kind="range",
            )
        return shown

    def view_probabilities(self, frames: Tensor) -> Tensor:
        """float64 (V, K) on the CPU: ``queued``, and waited for."""
        return self.queued(frames)()

    @torch.inference_mode()
    def queued(
        self, frames: Tensor, *, on_views: Callable[[int], None] | None = None
    ) -> Callable[[], Tensor]:
        """Softmax of every view, at most ``max_views_per_forward`` of them at a time.

        Args:
            frames: uint8 (V, T, H, W, 3).
            on_views: called with the number of views just done (on a GPU: just queued).

        Returns:
            A call that waits for them: float64 (V, K) on the CPU; it raises NotFiniteError if the
            network's output is NaN or infinite.

        Raises:
            VideoNLError: the device has too little memory; names the remedy. Or another number of
                class names than of classes.
        """
        mean, std = self.preprocessing.colours
        parts = []
        for chunk in frames.split(self.max_views_per_forward):
            try:
                clips = to_clips(sent(chunk, self.device)[None], mean=mean, std=std)[0]
                logits = self.engine(self.model, clips)
                parts.append(probabilities_of(logits, multi_label=self.multi_label))
            except torch.OutOfMemoryError as error:
                raise VideoNLError(
                    f"{counted(len(chunk), 'view')} at once: too much for the memory of "
                    f"{self.device}; use "
                    f"--max-views-per-forward {max(1, len(chunk) // 2)} or fewer, or --device cpu"
                ) from error
            if on_views:
                on_views(len(chunk))
        if parts[0].shape[1] != len(self.class_names):
            raise VideoNLError(
                f"the network has {counted(parts[0].shape[1], 'class')}, but there are "
                f"{counted(len(self.class_names), 'name')}"
            )
        answers = Arrival(torch.cat(parts))
        return lambda: check_answers(answers.wait())

    def predict(
        self,
        video: Given,
        *,
        top_k: int = 5,
        views: tuple[int, int] | None = None,
        fps: float | None = None,
        on_views: Callable[[int], None] | None = None,
    ) -> Prediction:
        """Classify one video.

        Args:
            video: a path; the bytes of a file or a binary file object; or frames in memory, uint8
                (T, H, W, 3), RGB: an array, a tensor or an iterator of pictures, with ``fps``.
            top_k: how many classes to return; all, if there are fewer.
            views: (clips along time, crops: 1 = the centre, 3 = along the longer side); None: those
                with which the network was validated or published.
            fps: frames per second of frames in memory; files have their own rate.
            on_views: called with the number of views just done, for a progress bar.

        Raises:
            VideoError: the file cannot be read, or the argument is not a video.
        """
        read = self.read(video, views=views, fps=fps)
        prediction = self.judge(name_of(video), read, top_k, on_views)
        self._tell(name_of(video), read)
        return prediction

    def predict_many(
        self,
        videos: Iterable[Given],
        *,
        top_k: int = 5,
        views: tuple[int, int] | None = None,
        fps: float | None = None,
        workers: int | None = None,
        on_views: Callable[[int], None] | None = None,
    ) -> Iterator[Prediction | Failure]:
        """Classify videos in order.

        On a GPU decoding, copying and computing overlap: while it computes one video, the next ones
        are decoded and one of them is queued, and only then the first answer is waited for.

        Args:
            videos: each as for ``predict``, or ``Frames`` with a rate of its own.
            top_k: how many classes to return.
            views: as for ``predict``.
            fps: of all frames in memory among them.
            workers: threads that decode ahead; default ``videos_ahead``, none on a CPU.
            on_views: called with the number of views just done.

        Yields:
            A prediction, or the failure of a file that cannot be read.
        """
        shown = self.preprocessing.with_views(views)  # refuses wrong ones before the first file
        if is_path(videos) or isinstance(videos, bytes | Frames):
            raise VideoNLError("predict_many takes several videos: give a list, or use predict")
        if workers is None:
            workers = videos_ahead(shown, device=self.device)

        def read(video: Given) -> Views:
            return self.read(video, views=views, fps=rate_for(video, fps))

        def begun(video: Given, outcome: Callable[[], Views]) -> Callable[[], Prediction | Failure]:
            path = name_of(video)
            try:
                views_read = outcome()
                ended = self._begin(path, views_read, top_k, on_views)
                self._tell(path, views_read)
            except (VideoError, OSError) as error:
                failure = Failure(path, short_reason(error, path))
                return lambda: failure
            return ended

        most = int(self.device.type == "cuda")  # videos that a GPU is given before it has answered
        with Ahead(read, workers) as ahead:
            yield from behind((begun(*each) for each in ahead.map(videos)), most)

    def judge(
        self,
        path: str,
        views: Views,
        top_k: int,
        on_views: Callable[[int], None] | None,
    ) -> Prediction:
        """Compute the prediction of views that were read."""
        return self._begin(path, views, top_k, on_views)()

    def _begin(
        self,
        path: str,
        views: Views,
        top_k: int,
        on_views: Callable[[int], None] | None,
    ) -> Callable[[], Prediction]:
        """Queue the computation for views that were read; the result waits for the prediction."""
        if top_k < 1:
            raise VideoNLError(f"top_k must be at least 1, got {top_k}")
        damage = self._damage(views)
        damage.tell(path, len(views.damaged))  # raises if every clip is damaged
        if damage.left_out:
            views = views.whole()
        answers = self.queued(views.frames, on_views=on_views)  # (V, K)
        return lambda: self._judged(path, views, answers(), top_k, damage)

    def _judged(
        self, path: str, views: Views, per_view: Tensor, top_k: int, damage: Damage
    ) -> Prediction:
        """The prediction from the probabilities (V, K) of the views."""
        shown = views.preprocessing
        mean = over_views(per_view, multi_label=self.multi_label, average=shown.average)
        top = self.ranked(mean, top_k)
        return Prediction(
            path=path,
            classes=tuple(name for name, _ in top),
            probabilities=tuple(probability for _, probability in top),
            views=tuple(
                Clip(tuple(frames), tuple(seconds), shown.views[1])
                for frames, seconds in zip(views.indices, views.seconds, strict=True)
            ),
            model=self.made_by(),
            protocol=self.protocol(shown.views),
            damaged=tuple(damage.frames),
            concealed=self.conceal and bool(damage.windows),
        )

    def ranked(self, values: Tensor, count: int | None = None) -> list[tuple[str, float]]:
        """The ``count`` (None: all) largest of K values with their classes, the largest first."""
        top = values.sort(descending=True, stable=True)
        pairs = zip(top.indices[:count].tolist(), top.values[:count].tolist(), strict=True)
        return [(self.class_names[k], value) for k, value in pairs]

    def _damage(self, views: Views) -> Damage:
        """Which clips contain damaged frames."""
        damage = Damage(conceal=self.conceal, what="clips")
        damage.windows = {n: frames for n, frames in enumerate(views.damaged) if frames}
        return damage

    def _tell(self, path: str, views: Views) -> None:
        """Note what was left out, if anything was."""
        if said := self._damage(views).tell(path, len(views.damaged)):
            self.note(said)


def short_reason(error: Exception, path: str) -> str:
    """The message without the path, which is shown beside it."""
    return str(error).removeprefix(f"{path}: ")
