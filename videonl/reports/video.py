"""One video and what the network says of it as one HTML page that needs no network or other file.

The file itself is embedded where browsers play it (H.264, AV1 or VP9 in MP4, VP8, VP9 or AV1 in
WebM) and it has at most ``EMBED_BYTES``; else its key frames take the video's place.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videonl.attention import KINDS, arrows_of, draw_figure
from videonl.attention.attention import attend, block_names
from videonl.escapes import json_text
from videonl.inference.prediction import Prediction
from videonl.inference.predictor import Predictor, short_reason
from videonl.inference.timeline import Segment, Timeline, lanes_of
from videonl.reports.pages import data_address, png_address, render
from videonl.shares import counted, percent
from videonl.video.decoding.container import open_source, regular_file
from videonl.video.video import Video, open_video

EMBED_BYTES = 64 << 20  # base64 makes a third more of it; larger pages open slowly on a phone
PICTURES = 12
DPI = 110  # sharp at the width of the page, and about half the bytes of the file of `attend`
MP4 = {("h264", "yuv420p"), ("h264", "yuvj420p"), ("vp9", "yuv420p"), ("av1", "yuv420p")}
WEBM = {("vp8", "yuv420p"), ("vp9", "yuv420p"), ("av1", "yuv420p")}
COLOURS = ("#2f6fb2", "#c4541a", "#2e8b57", "#8a4fa3", "#b8860b", "#a8324a", "#3b8686", "#6b6b6b")


def video_page(
    prediction: Prediction,
    found: tuple[Timeline, Sequence[Segment]] | None,
    *,
    opened_by: Callable[..., Video] = open_video,
    attention: str = "",
) -> str:
    """The page.

    Args:
        prediction: of the whole file.
        found: its timeline and segments, if there is one.
        opened_by: opens the file for its key frames, such as ``DecoderPool.open``.
        attention: the ``attention_section``, where there is some.

    Raises:
        VideoError: the file cannot be read.
        OSError: as well.
    """
    path = Path(prediction.path)
    frames, duration = key_frames(path, opened_by)
    video, note = embedded(regular_file(path))
    about = {"model": prediction.model, "protocol": prediction.protocol}
    seconds = [frame["second"] for frame in frames]
    return render(
        "video.html",
        name=path.name,
        video=video,
        note=note,
        frames=frames,
        answers=list(zip(prediction.classes, prediction.probabilities, strict=True)),
        views=_views(str(prediction.protocol["views"])),
        segments=_bars(*found) if found else None,
        attention=attention,
        about=json_text(about, indent=2),
        data={"duration": duration, "pictures": seconds, **(_windows(*found) if found else {})},
    )


def embedded(path: Path) -> tuple[str, str]:
    """(data address of the file, "") or ("", why it is not embedded)."""
    source = open_source(path)
    try:
        kind = (source.codec, str(source.stream.codec_context.pix_fmt))
        container = source.format
    finally:
        source.close()
    is_mp4 = container.startswith("mov,mp4") and kind in MP4
    is_webm = container == "matroska,webm" and kind in WEBM
    if not (is_mp4 or is_webm):
        return "", (
            f"Browsers cannot play this file ({kind[0]} in {container.split(',')[0]}): its key "
            "frames are shown instead."
        )
    size = path.stat().st_size
    if size > EMBED_BYTES:
        return "", (
            f"The file has {size / 2**20:.0f} MiB, more than the {EMBED_BYTES >> 20} MiB that a "
            "page may hold: its key frames are shown instead."
        )
    return data_address(f"video/{'mp4' if is_mp4 else 'webm'}", path.read_bytes()), ""


def key_frames(
    path: Path, opened_by: Callable[..., Video] = open_video
) -> tuple[list[dict[str, Any]], float]:
    """(per frame its ``second`` and its ``picture``, a JPEG's data address; the duration).

    The frames are spread evenly over the video; a damaged one is as the decoder repairs it.
    """
    from PIL import Image

    frames = []
    with opened_by(path, forgiving=True) as video:
        count = min(PICTURES, video.num_frames)
        numbers = np.unique(np.linspace(0, video.num_frames - 1, count).round().astype(int))
        times = video.times()
        duration = video.end
        for number in numbers.tolist():
            file = io.BytesIO()
            picture = video.read([number], short_side=min(270, video.height, video.width))[0]
            Image.fromarray(picture.numpy()).save(file, "JPEG", quality=80)
            address = data_address("image/jpeg", file.getvalue())
            frames.append({"second": round(float(times[number]), 3), "picture": address})
    return frames, duration


def _views(text: str) -> str:
    """``"10x3"`` in words."""
    clips, crops = map(int, text.split("x"))
    return f"{counted(clips, 'clip')} × {counted(crops, 'crop')}"


def _windows(timeline: Timeline, segments: Sequence[Segment]) -> dict[str, object]:
    """What the page's script knows."""
    return {
        "spans": [[round(w.start, 3), round(w.end, 3)] for w in timeline.windows],
        "begins": [round(float(begin), 3) for begin in timeline.claims[:, 0]],
        "top": [
            ", ".join(f"{name} {percent(p)}" for name, p in timeline.top(number, 3))
            for number in range(len(timeline.windows))
        ],
        "segments": [[round(s.start, 3), round(s.end, 3)] for s in segments],
    }


def _bars(timeline: Timeline, segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """The segments with their colours and their places on the timeline in per cent."""
    names = list(dict.fromkeys(segment.name for segment in segments))
    lanes = lanes_of(segments)
    count = max(lanes, default=0) + 1
    return [
        {
            **vars(segment),
            "colour": COLOURS[names.index(segment.name) % len(COLOURS)],
            "left": 100 * segment.start / timeline.duration,
            "width": 100 * (segment.end - segment.start) / timeline.duration,
            "top": 100 * lane / count,
            "height": 100 / count,
        }
        for segment, lane in zip(segments, lanes, strict=True)
    ]


def attention_section(predictor: Predictor, path: str | Path) -> str:
    """HTML: the picture of ``videonl attend`` with what it shows in words.

    Args:
        predictor: the network whose answer the page shows.
        path: the video.

    Returns:
        The section; one line with the reason where the attention cannot be shown; nothing where
        the network has no non-local block.
    """
    if not block_names(predictor.model):
        return ""
    try:
        found = attend(predictor, path)
        picture = png_address(draw_figure(found), dpi=DPI)
    except (ValueError, OSError) as error:  # the answers stand all the same
        return render("attention.html", reason=short_reason(error, str(path)))
    return render(
        "attention.html",
        reason=None,
        found=found,
        kind=KINDS.get(found.spread.kind),
        name=Path(found.path).name,
        arrows=arrows_of(found),
        picture=picture,
    )
