"""How fast clips come out of video files: videonl beside its peers, in one run, on the same files.

    python benchmarks/decode.py [VIDEO ...] --out benchmarks/results/decode

Every road delivers the same random clips, one process, one thread. Rows: videonl; a plain decord
loop at the target size; pytorchvideo's dataset with its pyav and decord decoders (it does not
scale, which favours it); torchcodec where it loads; and the lower bound: libav decoding the needed
groups of pictures with a known index, without colour conversion or scaling. Columns: the files as
they are and re-encoded by ``videonl prepare``; clips of 8 frames at stride 8 and of 32 at stride 2;
file in the page cache (warm) and not (cold). The roads take turns clip by clip, so that a busy
machine hurts all alike.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from videonl.data.encoding import encode_file
from videonl.data.video import open_video

SHORT_SIDE = 256
SHAPES = {"8x8": (8, 8), "32x2": (32, 2)}
Road = Callable[[str, int, int, int], Any]  # path, start, frames, stride


def synthetic(path: Path, *, height: int, width: int, seconds: int = 10) -> Path:
    """A clip of moving textures with noise, a key frame per 250 frames and B-frames."""
    generator = np.random.default_rng(0)
    texture = generator.integers(0, 255, (height // 8 + 40, width // 8 + 40, 3), np.uint8)
    texture = np.kron(texture, np.ones((8, 8, 1), np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "20", "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(30 * seconds):
            x, y = int(100 + 90 * np.sin(i / 40)), int(100 + 90 * np.cos(i / 30))
            picture = texture[y : y + height, x : x + width].astype(np.int16)
            picture += generator.integers(-6, 7, (height, width, 1), np.int16)
            array = np.clip(picture, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, "rgb24")))
        container.mux(stream.encode())
    return path


def with_videonl(path: str, start: int, frames: int, stride: int) -> torch.Tensor:
    with open_video(path) as video:
        return video.read(range(start, start + frames * stride, stride), short_side=SHORT_SIDE)


def with_videonl_decord(path: str, start: int, frames: int, stride: int) -> torch.Tensor:
    with open_video(path, decoder="decord") as video:
        return video.read(range(start, start + frames * stride, stride), short_side=SHORT_SIDE)


def with_decord(path: str, start: int, frames: int, stride: int) -> Any:
    import decord

    height, width = sizes(path)
    reader = decord.VideoReader(path, num_threads=1, width=width, height=height)
    batch = reader.get_batch(list(range(start, start + frames * stride, stride)))
    # pytorchvideo sets decord's bridge to torch for the whole process
    return batch.asnumpy() if hasattr(batch, "asnumpy") else batch.numpy()


def with_torchcodec(path: str, start: int, frames: int, stride: int) -> Any:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, num_ffmpeg_threads=1, dimension_order="NHWC")
    return decoder.get_frames_at(list(range(start, start + frames * stride, stride))).data


def with_pytorchvideo(decoder: str) -> Road:
    """Its LabeledVideoDataset, a fresh one per clip; frames are taken out of the seconds read."""
    from pytorchvideo.data import LabeledVideoDataset
    from pytorchvideo.data.clip_sampling import ClipInfo, ClipSampler

    class At(ClipSampler):
        """One clip that starts at a given second."""

        def __init__(self, start: float, seconds: float) -> None:
            super().__init__(seconds)
            self.start = start

        def __call__(self, *_: Any) -> ClipInfo:
            return ClipInfo(self.start, self.start + self._clip_duration, 0, 0, True)

    def read(path: str, start: int, frames: int, stride: int) -> Any:
        fps = rates(path)
        sampler = At(start / fps, frames * stride / fps)
        dataset = LabeledVideoDataset(
            [(path, {"label": 0})], sampler, decode_audio=False, decoder=decoder
        )
        return next(iter(dataset))["video"][:, ::stride][:, :frames]

    return read


def lower_bound(path: str, start: int, frames: int, stride: int) -> int:
    """Decode from the key frame before the first wanted frame to the last wanted frame."""
    pts, keys = indices(path)
    last = pts[start + (frames - 1) * stride]
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "NONE"
        container.seek(max(k for k in keys if k <= pts[start]), stream=stream)
        count = 0
        for frame in container.decode(stream):
            count += 1
            if frame.pts >= last:
                break
        return count


_KNOWN: dict[str, tuple[list[int], list[int], tuple[int, int], float]] = {}


def _know(path: str) -> tuple[list[int], list[int], tuple[int, int], float]:
    if path not in _KNOWN:
        with av.open(path) as container:
            stream = container.streams.video[0]
            packets = [(p.pts, p.is_keyframe) for p in container.demux(stream) if p.size]
        with open_video(path) as video:
            factor = SHORT_SIDE / min(video.height, video.width)
            size = (round(video.height * factor), round(video.width * factor))
            rate = video.fps
        _KNOWN[path] = (sorted(p for p, _ in packets), [p for p, k in packets if k], size, rate)
    return _KNOWN[path]


def indices(path: str) -> tuple[list[int], list[int]]:
    return _know(path)[:2]


def sizes(path: str) -> tuple[int, int]:
    return _know(path)[2]


def rates(path: str) -> float:
    return _know(path)[3]


def roads() -> dict[str, Road]:
    """The roads that work on this machine."""
    found: dict[str, Road] = {"videonl": with_videonl, "lower bound": lower_bound}
    try:
        import decord  # noqa: F401

        found["decord"] = with_decord
        found["videonl (decord)"] = with_videonl_decord
    except ImportError:
        print("decord does not load here")
    try:
        from torchcodec.decoders import VideoDecoder  # noqa: F401

        found["torchcodec"] = with_torchcodec
    except (ImportError, RuntimeError) as error:
        print(f"torchcodec does not load here ({str(error).splitlines()[0]})")
    for decoder in ("pyav", "decord"):
        try:
            found[f"pytorchvideo ({decoder})"] = with_pytorchvideo(decoder)
        except ImportError as error:
            print(f"pytorchvideo does not load here ({error})")
    return found


def forget(path: str) -> None:
    """Drop a file from the page cache."""
    with open(path, "rb") as handle:
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(
    path: str, shape: tuple[int, int], *, clips: int, cold: bool
) -> dict[str, dict[str, float] | str]:
    """Milliseconds per clip of every road, on the same random clips in turns."""
    frames, stride = shape
    free = len(indices(path)[0]) - frames * stride
    starts = np.random.default_rng(1).integers(0, free, clips).tolist()
    times: dict[str, list[float]] = {}
    errors: dict[str, str] = {}
    for start in starts:
        for name, road in roads_here.items():
            if name in errors:
                continue
            if cold:
                forget(path)
            begin = time.perf_counter()
            try:
                road(path, start, frames, stride)
            except Exception as error:  # a peer that fails is a result, too
                errors[name] = f"{type(error).__name__}: {error}"[:200]
                continue
            times.setdefault(name, []).append(1000 * (time.perf_counter() - begin))
    result: dict[str, dict[str, float] | str] = dict(errors)
    for name, values in times.items():
        ordered = sorted(values)
        result[name] = {
            "median_ms": round(statistics.median(values), 2),
            "best_ms": round(ordered[0], 2),
            "p90_ms": round(ordered[int(0.9 * (len(ordered) - 1))], 2),
            "clips_per_s": round(1000 / statistics.mean(values), 2),
        }
    return result


def plot(rows: list[dict[str, Any]], file: Path) -> None:
    """Bars: milliseconds per clip, one panel per file, as it is and prepared."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    warm = [row for row in rows if not row["cold"]]
    figure, panels = plt.subplots(1, len(warm), figsize=(3.2 * len(warm), 3.6), squeeze=False)
    for axis, row in zip(panels[0], warm, strict=True):
        pairs = [(n, r["median_ms"]) for n, r in row["roads"].items() if isinstance(r, dict)]
        pairs.sort(key=lambda pair: pair[1])
        colours = [
            "#1f77b4" if n == "videonl" else "#999999" if n != "lower bound" else "#2ca02c"
            for n, _ in pairs
        ]
        axis.barh([n for n, _ in pairs], [m for _, m in pairs], color=colours)
        axis.set_title(f"{row['file']}, {row['clip']}\n{row['kind']}", fontsize=8)
        axis.set_xlabel("ms per clip", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.invert_yaxis()
    figure.tight_layout()
    figure.savefig(file, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("videos", nargs="*", help="default: two synthetic clips")
    parser.add_argument("--clips", type=int, default=12, help="clips per measurement")
    parser.add_argument("--out", default="benchmarks/results/decode", help="without extension")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        videos = [Path(video) for video in options.videos] or [
            synthetic(work / "340x256.mp4", height=256, width=340),
            synthetic(work / "1280x720.mp4", height=720, width=1280),
        ]
        rows = []
        for video in videos:
            prepared = work / f"{video.stem}_prepared.mp4"
            outcome = encode_file(video, prepared)
            if outcome.error:
                raise SystemExit(f"{video}: {outcome.error}")
            for kind, path in (("original", video), ("prepared", prepared)):
                for clip, shape in SHAPES.items():
                    for cold in (False, True):
                        found = measure(str(path), shape, clips=options.clips, cold=cold)
                        rows.append(
                            {
                                "file": video.name,
                                "bytes": path.stat().st_size,
                                "kind": kind,
                                "clip": clip,
                                "cold": cold,
                                "roads": found,
                            }
                        )
                        show(rows[-1])
    machine = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "av": av.__version__,
        "ffmpeg": str(av.library_versions),
    }
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))
    plot(rows, out.with_suffix(".png"))


def show(row: dict[str, Any]) -> None:
    head = (
        f"{row['file']:<24} {row['kind']:<9} {row['clip']:<5} {'cold' if row['cold'] else 'warm'}"
    )
    cells = [
        f"{name} {value['median_ms']:.1f}" if isinstance(value, dict) else f"{name} failed"
        for name, value in row["roads"].items()
    ]
    print(head, "ms/clip:", ", ".join(cells), flush=True)


roads_here = roads()

if __name__ == "__main__":
    main()
