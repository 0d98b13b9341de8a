"""One video and what the network says of it as one HTML page that needs no network or other file.

The file itself is embedded where browsers play it (H.264, AV1 or VP9 in MP4, VP8, VP9 or AV1 in
WebM) and it has at most ``EMBED_BYTES``; else its key frames take the video's place.
"""

import base64
import io
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from videonl.data.container import open_source
from videonl.data.video import Video, open_video
from videonl.inference.prediction import Prediction
from videonl.inference.report_style import SCRIPT, STYLE
from videonl.inference.timeline import Timeline, video_duration
from videonl.inference.timeline_segments import Segment, edges_of
from videonl.json_text import json_text

EMBED_BYTES = 64 << 20  # base64 makes a third more of it; larger pages open slowly on a phone
PICTURES = 12
MP4 = {("h264", "yuv420p"), ("h264", "yuvj420p"), ("vp9", "yuv420p"), ("av1", "yuv420p")}
WEBM = {("vp8", "yuv420p"), ("vp9", "yuv420p"), ("av1", "yuv420p")}
COLOURS = ("#2f6fb2", "#c4541a", "#2e8b57", "#8a4fa3", "#b8860b", "#a8324a", "#3b8686", "#6b6b6b")


def page_html(
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
        attention: HTML of ``attention_section``, where there is some.

    Raises:
        VideoError: the file can not be read.
        OSError: as well.
    """
    path = Path(prediction.path)
    pictures, seconds, duration = key_frames(path, opened_by)
    video, note = embedded(path)
    data = json_text(
        {"duration": duration, "pictures": seconds, **(_windows(*found) if found else {})}
    ).replace("<", "\\u003c")
    name = escape(path.name)
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # Nothing is ever fetched: the browser refuses it too.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">",
        '<link rel="icon" href="data:,">',
        f"<title>{name}</title><style>{STYLE}</style></head><body>",
        f'<header><p class="kicker">videonl report</p><h1>{name}</h1></header><main>',
        '<div class="stage">',
        _player(video, pictures, name),
        _answers(prediction),
        "</div>",
        f'<p class="note">{escape(note)}</p>' if note else "",
        _timeline(found),
        _strip(pictures, seconds),
        _segments(found),
        attention,
        _about(prediction),
        f'</main><script type="application/json" id="data">{data}</script>',
        f"<script>{SCRIPT}</script></body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


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
            f"Browsers do not play this file ({kind[0]} in {container.split(',')[0]}): its key "
            "frames stand here instead."
        )
    size = path.stat().st_size
    if size > EMBED_BYTES:
        return "", (
            f"The file has {size / 2**20:.0f} MiB, more than the {EMBED_BYTES >> 20} MiB that a "
            "page may hold: its key frames stand here instead."
        )
    text = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"data:video/{'mp4' if is_mp4 else 'webm'};base64,{text}", ""


def key_frames(path: Path, opened_by: Callable[..., Video]) -> tuple[list[str], list[float], float]:
    """(JPEG data addresses, their seconds, duration): frames spread evenly over the video."""
    from PIL import Image

    with opened_by(path) as video:
        count = min(PICTURES, video.num_frames)
        numbers = np.unique(np.linspace(0, video.num_frames - 1, count).round().astype(int))
        times = video.times()
        duration = video_duration(times, video.fps)
        texts = []
        for number in numbers.tolist():
            file = io.BytesIO()
            picture = video.read([number], short_side=min(270, video.height, video.width))[0]
            Image.fromarray(picture.numpy()).save(file, "JPEG", quality=80)
            texts.append("data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode())
    return texts, [round(float(times[n]), 3) for n in numbers], duration


def _windows(timeline: Timeline, segments: Sequence[Segment]) -> dict[str, object]:
    spans = [(window.start, window.end) for window in timeline.windows]
    return {
        "spans": [[round(a, 3), round(b, 3)] for a, b in spans],
        "edges": [round(edge, 3) for edge in edges_of(spans)],
        "top": [
            [[name, round(p, 4)] for name, p in timeline.top(number, 3)]
            for number in range(len(spans))
        ],
        "segments": [[round(s.start, 3), round(s.end, 3)] for s in segments],
    }


def _player(video: str, pictures: list[str], name: str) -> str:
    still = f'<img id="still" alt="frame of {name}" src="{pictures[0]}"{" hidden" * bool(video)}>'
    if not video:
        return f'<div class="player">{still}</div>'
    return (
        f'<div class="player"><video id="video" controls playsinline preload="auto" '
        f'aria-label="{name}" src="{video}"></video>{still}</div>'
    )


def _answers(prediction: Prediction) -> str:
    rows = "".join(
        f"<li><span>{escape(label)}</span><b>{p:.1%}</b>"
        f'<i style="width:{max(0.5, 100 * p):.1f}%"></i></li>'
        for label, p in zip(prediction.classes, prediction.probabilities, strict=True)
    )
    views = escape(str(prediction.protocol["views"]))
    return (
        f'<section class="answers"><h2>Whole video</h2><ol>{rows}</ol>'
        f'<p class="note">{views} views</p></section>'
    )


def _timeline(found: tuple[Timeline, Sequence[Segment]] | None) -> str:
    """The slider, and above it the segments where there are some."""
    bars = ""
    if found:
        timeline, segments = found
        colours = _colours(segments)
        bars = "".join(
            f'<div class="bar" title="{escape(s.name)}" style="left:'
            f"{100 * s.start / timeline.duration:.3f}%;width:"
            f"{100 * (s.end - s.start) / timeline.duration:.3f}%;background:{colours[s.name]};"
            f'opacity:{0.45 + 0.55 * s.confidence:.2f}"><span>{escape(s.name)}</span></div>'
            for s in segments
        )
        bars = f'<div id="track" aria-hidden="true">{bars}<div id="window"></div></div>'
    return (
        '<section><h2>Timeline</h2><div class="line">' + bars + '<input id="seek" type="range" '
        'min="0" value="0" step="0.1" aria-label="time in the video; arrow keys seek"></div>'
        '<p id="now" aria-live="off"></p></section>'
    )


def _strip(pictures: list[str], seconds: list[float]) -> str:
    buttons = "".join(
        f'<button type="button" data-seek="{second}" aria-label="go to {second:.1f} s">'
        f'<img alt="" src="{picture}"><span>{second:.1f} s</span></button>'
        for picture, second in zip(pictures, seconds, strict=True)
    )
    return f'<section><h2>Frames</h2><div class="strip">{buttons}</div></section>'


def _segments(found: tuple[Timeline, Sequence[Segment]] | None) -> str:
    if not found:
        return ""
    colours = _colours(found[1])
    rows = "".join(
        f'<li><button type="button" class="segment" data-seek="{s.start:.3f}">'
        f'<i style="background:{colours[s.name]}"></i><span>{escape(s.name)}</span>'
        f"<em>{s.start:.1f} to {s.end:.1f} s</em><b>{s.confidence:.0%}</b></button></li>"
        for s in found[1]
    )
    empty = '<p class="note">No window reached the threshold.</p>'
    return (
        f"<section><h2>Segments</h2><ol class='segments'>{rows}</ol>{'' if rows else empty}"
        '<p class="note">Neighbouring windows with the same class; the number is the mean '
        "probability of its windows.</p></section>"
    )


def _colours(segments: Sequence[Segment]) -> dict[str, str]:
    names = list(dict.fromkeys(segment.name for segment in segments))
    return {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}


def _about(prediction: Prediction) -> str:
    text = json_text({"model": prediction.model, "protocol": prediction.protocol}, indent=2)
    return f"<details><summary>Model and protocol</summary><pre>{escape(text)}</pre></details>"
