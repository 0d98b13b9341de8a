"""The videos that benchmarks/decode.py reads: 10 seconds, encoded as video sites encode.

A hand-held camera pans over a picture with the spectrum of natural images (amplitude falls with
1/frequency), two textured things move before it, and the sensor adds noise; every four seconds the
shot changes. With x264's usual settings (CRF 23, preset medium, key frames up to 250 apart,
3 B-frames) 340x256 then takes about 0.5 Mbit/s, like clips of Kinetics.
"""

from pathlib import Path

import av
import numpy as np

SIZES = {"340x256": (340, 256), "640x360": (640, 360), "1280x720": (1280, 720)}
FPS, SECONDS = 30, 10


def natural_picture(height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """uint8 (height, width, 3) with a 1/f spectrum."""
    y, x = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    falloff = 1 / np.maximum(np.hypot(y * height, x * width), 1.0) ** 1.15
    grey = np.fft.ifft2(np.fft.fft2(generator.standard_normal((height, width))) * falloff).real
    tint = np.fft.ifft2(np.fft.fft2(generator.standard_normal((height, width))) * falloff**1.3).real
    grey, tint = (p / p.std() for p in (grey, tint))
    colours = np.stack([grey + 0.3 * tint, grey, grey - 0.3 * tint], -1)
    return np.clip(120 + 45 * colours, 0, 255).astype(np.uint8)


def write_original(path: Path, width: int, height: int, *, seed: int) -> Path:
    """Write a video; the same seed gives the same one."""
    generator = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = generator.normal(0, 2.5, (8, height, width, 1)).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.options = {
            "preset": "medium",
            "crf": "23",
            "x264-params": "keyint=250:bframes=3:threads=1",
        }
        for index, picture in enumerate(_shots(width, height, generator)):
            noisy = np.clip(picture.astype(np.int16) + noise[generator.integers(8)], 0, 255)
            frame = av.VideoFrame.from_ndarray(noisy.astype(np.uint8), "rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _shots(width: int, height: int, generator: np.random.Generator):  # noqa: ANN202
    for shot in range(0, FPS * SECONDS, 4 * FPS):
        scene = natural_picture(height + 64, width + 256, generator)
        things = [natural_picture(height // 3, width // 5, generator) for _ in range(2)]
        shake = np.cumsum(generator.normal(0, 0.6, (4 * FPS, 2)), 0)
        for i in range(min(4 * FPS, FPS * SECONDS - shot)):
            top = int(np.clip(32 + shake[i, 0], 0, 64))
            left = int(np.clip(64 + i * 0.8 + shake[i, 1], 0, 256))
            picture = scene[top : top + height, left : left + width].copy()
            for number, thing in enumerate(things):
                phase = i / FPS * (1.5 + number)
                y = int((height - thing.shape[0]) * (0.5 + 0.4 * np.sin(phase)))
                x = int((width - thing.shape[1]) * (0.5 + 0.45 * np.cos(phase * 0.7 + number)))
                picture[y : y + thing.shape[0], x : x + thing.shape[1]] = thing
            yield picture
