"""Write timelines of many files: JSON, CSV of segments, CSV of windows, and a plot."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from videonl import __version__
from videonl.escapes import figure_text, json_text, shortened
from videonl.files import csv_line, whole_stream
from videonl.inference.prediction import Failure, damage_as_dict
from videonl.inference.timeline import Segment, Timeline, lanes_of

OTHERS = "0.6"  # the grey of segments whose class is not drawn
Result = tuple[Timeline, list[Segment]]


def as_json(
    results: Sequence[Result],
    failures: Sequence[Failure],
    rule: dict[str, float],
    *,
    top_k: int,
    lines: bool = False,
) -> str:
    """Model and protocol, per file its segments and windows, and the failures.

    One object, or with ``lines`` a line for each of them, as ``JsonLinesWriter`` writes.
    """
    about = results[0][0].about if results else {}
    timelines = [
        {
            "path": timeline.path,
            "duration": round(timeline.duration, 6),
            "window_seconds": timeline.about["protocol"]["window_seconds"],
            "hop_seconds": timeline.about["protocol"]["hop_seconds"],
            "segments": [segment.as_dict() for segment in segments],
            "windows": [
                {
                    "start": round(window.start, 6),
                    "end": round(window.end, 6),
                    "frames": [window.first, window.last - 1],
                    "classes": [
                        {"class": name, "probability": probability}
                        for name, probability in timeline.top(number, top_k)
                    ],
                }
                for number, window in enumerate(timeline.windows)
            ],
            **damage_as_dict(timeline.damaged_frames, concealed=timeline.concealed),
            **_left_out(timeline),
        }
        for timeline, segments in results
    ]
    head = {"videonl": __version__, **about, "segments": rule}
    failed = [failure.as_dict() for failure in failures]
    if lines:
        return "".join(json_text(e, ascii=True) + "\n" for e in (head, *timelines, *failed))
    content = {**head, "timelines": timelines, "failures": failed}
    return json_text(content, indent=1, ascii=True) + "\n"


def _left_out(timeline: Timeline) -> dict[str, object]:
    """The windows with damaged frames, if they are not classified."""
    if not timeline.damaged:
        return {}
    spans = [[round(w.start, 6), round(w.end, 6)] for w in timeline.damaged]
    return {"windows_left_out": spans}


def segments_csv(results: Sequence[Result], failures: Sequence[Failure]) -> str:
    """path, start, end, class, confidence, windows, error: a row per segment."""
    rows: list[Sequence[object]] = [
        ("path", "start", "end", "class", "confidence", "windows", "error")
    ]
    for timeline, segments in results:
        rows += [
            (timeline.path, f"{s.start:.3f}", f"{s.end:.3f}", s.name, f"{s.confidence:.6f}",
             s.windows, "")
            for s in segments
        ]  # fmt: skip
    rows += [(failure.path, "", "", "", "", "", failure.error) for failure in failures]
    return _csv(rows)


def windows_csv(results: Sequence[Result], *, top_k: int) -> str:
    """path, start, end, class_1, probability_1, ...: a row per window."""
    heads = [f"{what}_{rank + 1}" for rank in range(top_k) for what in ("class", "probability")]
    rows: list[Sequence[object]] = [("path", "start", "end", *heads)]
    for timeline, _ in results:
        for number, window in enumerate(timeline.windows):
            row: list[object] = [timeline.path, f"{window.start:.3f}", f"{window.end:.3f}"]
            for name, probability in timeline.top(number, top_k):
                row += [name, f"{probability:.6f}"]
            rows.append(row)
    return _csv(rows)


def _csv(rows: Sequence[Sequence[object]]) -> str:
    return "".join(map(csv_line, rows))


def draw_timeline(
    timeline: Timeline, segments: Sequence[Segment], path: Path, *, classes: int = 6
) -> None:
    """A PNG: the probabilities of the strongest classes over time, the segments below.

    Raises:
        OutputError: it cannot be written there.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    title = Path(timeline.path).name
    order = (-timeline.probabilities.max(axis=0)).argsort(kind="stable")[:classes]
    colours = {timeline.class_names[k]: f"C{number}" for number, k in enumerate(order)}
    claims = timeline.claims
    # A level line per window; the line breaks where windows leave gaps.
    broken = np.flatnonzero(claims[1:, 0] - claims[:-1, 1] > 1e-6) * 2 + 2
    seconds = np.insert(claims.reshape(-1), broken, np.nan)
    with figure_text([title, *colours]) as drawable:
        figure = Figure(figsize=(10, 4.8), layout="constrained")
        FigureCanvasAgg(figure)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        for k in order:
            name = timeline.class_names[k]
            # An underscore at the front would hide the entry.
            label = "\u200b" + shortened(drawable(name), 52)
            values = 100 * np.insert(timeline.probabilities[:, k].repeat(2), broken, np.nan)
            upper.plot(seconds, values, color=colours[name], label=label)
        upper.set(ylim=(0, 102), ylabel="probability (%)", title=shortened(drawable(title), 80))
        lanes = lanes_of(segments)
        high = 1 / max([lane + 1 for lane in lanes], default=1)
        for segment, lane in zip(segments, lanes, strict=True):
            colour, top = colours.get(segment.name, OTHERS), 1 - lane * high
            place = {"ymin": top - high, "ymax": top, "alpha": 0.85, "linewidth": 0}
            lower.axvspan(segment.start, segment.end, color=colour, **place)
        lower.set(yticks=[], xlabel="seconds", xlim=(0, timeline.duration), ylabel="segments")
        if any(segment.name not in colours for segment in segments):
            upper.plot([], color=OTHERS, linewidth=6, label="other classes")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        with whole_stream(path) as stream:
            figure.savefig(stream, format="png", dpi=140)
