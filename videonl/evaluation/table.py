"""A comparison as text: plain, Markdown and CSV."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from videonl.escapes import markdown_row, markdown_text
from videonl.evaluation.result import Comparison, PairedTest, Row
from videonl.evaluation.verdict import interval_of, verdict_words
from videonl.models.view_ensembling import average_words
from videonl.shares import counted, interval_text, percent


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        title: with its unit.
        cell: the text of a row; "" where it was not measured.
        number: aligned to the right.
    """

    title: str
    cell: Callable[[Row], str]
    number: bool = True


def share_words(score: dict[str, Any] | None) -> str:
    """An accuracy as ``"62 % [43, 79]"`` or, over seeds, ``"62 ± 3 % [43, 79]"``; "" of none."""
    if score is None or not score["total"]:
        return ""
    videos, deviation = score.get("videos", score["total"]), score.get("deviation")
    words = percent(score["value"], videos, deviation=deviation)
    if deviation is None or "interval95" in score:
        words += " " + interval_text(*interval_of(score), videos)
    return words


def _share(score: dict[str, Any] | None) -> str:
    return share_words(score).replace(" %", "")  # the title says it


def rate_words(speed: dict[str, Any] | None) -> str:
    """Clips per second with their quartiles; "" of none."""
    if speed is None:
        return ""
    middle = speed["clips_per_second"]
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
    return f"{middle:.{digits}f} [{speed['low']:.{digits}f}, {speed['high']:.{digits}f}]"


def _megabytes(speed: dict[str, Any] | None) -> str:
    return "" if speed is None else f"{speed['peak_memory'] / 1e6:.0f}"


def giga(value: int | None, factor: int = 1) -> str:
    """Billions with three significant digits at least."""
    if value is None:
        return ""
    billions = factor * value / 1e9
    return f"{billions:.3g}" if billions < 10 else f"{billions:.1f}"


COLUMNS = (
    Column("model", lambda row: row.name, number=False),
    Column("input", lambda row: row.shown_input, number=False),
    Column("params (M)", lambda row: "" if row.params is None else f"{row.params / 1e6:.2f}"),
    Column("GMACs/view", lambda row: giga(row.macs)),
    Column("GFLOPs/view", lambda row: giga(row.flops)),
    Column("views", lambda row: "x".join(map(str, row.views)), number=False),
    Column("GFLOPs total", lambda row: giga(row.flops, row.total_views)),
    Column("top-1 (%)", lambda row: _share(row.top1)),
    Column("top-5 (%)", lambda row: _share(row.top5)),
    Column("clips/s", lambda row: rate_words(row.inference)),
    Column("peak (MB)", lambda row: _megabytes(row.inference)),
    Column("train clips/s", lambda row: rate_words(row.training)),
    Column("train peak (MB)", lambda row: _megabytes(row.training)),
)


CSV_FIELDS = [
    *("name", "model", "checkpoint", "input", "views", "params"),
    *("macs_per_view", "flops_per_view", "flops_total", "non_local_macs_per_view"),
    *("top1", "top1_low", "top1_high", "top5", "top5_low", "top5_high", "videos"),
    *("clips_per_second", "clips_per_second_q1", "clips_per_second_q3", "peak_memory_bytes"),
    *("train_clips_per_second", "train_peak_memory_bytes", "group", "seed", "error"),
]


def columns_of(comparison: Comparison) -> list[Column]:
    """The columns that are not empty."""
    rows = measured_rows(comparison)
    return [column for column in COLUMNS if any(column.cell(row) for row in rows)]


def measured_rows(comparison: Comparison) -> list[Row]:
    """The rows whose network could be made."""
    return [row for row in comparison.shown if row.params is not None]


def table_cells(comparison: Comparison) -> tuple[list[Column], list[list[str]]]:
    """The columns and the cells of the table."""
    columns = columns_of(comparison)
    return columns, [[column.cell(row) for column in columns] for row in measured_rows(comparison)]


def _shortcut_words(found: dict[str, Any] | str) -> str:
    """The accuracy from facts about the files alone, in words."""
    return found if isinstance(found, str) else str(found["text"])


def notes(comparison: Comparison) -> list[str]:
    """The notes below the table: how its values were measured."""
    protocol = comparison.protocol
    lines = [f"{protocol['convention']}."]
    shapes = {row.shown_input for row in comparison.rows if row.input}
    if len(shapes) > 1:
        lines.append("The inputs differ between rows, so their values are not directly comparable.")
    data = protocol.get("data")
    if data:
        bad = len(data["unreadable"])
        missing = f" ({bad} cannot be read and count as wrong)" if bad else ""
        several = any("deviation" in (row.top1 or {}) for row in comparison.shown)
        interval = "95 % over seeds and videos" if several else data["interval"]
        if data.get("groups"):
            interval = f"95 % over {counted(data['groups']['count'], 'group')} of videos"
        averages = " or ".join(map(average_words, data.get("averages") or ["softmax"]))
        interval = f"; [] = {interval}" if any(row.top1 for row in comparison.rows) else ""
        lines.append(
            f"Accuracy: {counted(data['videos'], 'video')} of {data['root']} ({data['split']})"
            f"{missing}, "
            f"{protocol['views']} views, {averages}{interval}."
        )
        lines += [f"{said}." for said in data.get("left_out", [])]
        if data.get("shortcut"):
            lines.append(f"Shortcut: {_shortcut_words(data['shortcut'])}.")
    for row in comparison.rows:
        if row.own and row.own["top1"]:
            score = percent(row.own["top1"]["value"], row.own["top1"]["total"])
            lines.append(f"{row.name} with its own views, {row.own['views']}: top-1 {score}.")
        elif row.own:
            own = f"{row.name}: leave out --views for its own views, {row.own['views']}."
            lines.append(own)
    trained = protocol.get("training")
    if trained:
        lines.append(
            f"Trained here: {_length(trained)}, with the same data order and clips for all, "
            f"seeds {', '.join(map(str, trained['seeds']))}"
            + ("; ± = standard deviation over seeds." if len(trained["seeds"]) > 1 else ".")
        )
    widths = protocol.get("equal_cost")
    if widths:
        listed = ", ".join(f"{name} to a width of {width}" for name, width in widths.items())
        lines.append(f"Widened to the cost of the network with blocks: {listed}.")
    timed = [row.inference or row.training for row in comparison.rows]
    if any(timed):
        timing, machine = protocol["timing"], protocol["environment"]
        torch = machine["versions"]["torch"]
        threads = counted(machine["threads"], "thread")
        where = machine.get("accelerator") or f"{machine['processor']}, {threads}"
        lines.append(
            f"Speed: batch {timing['batch_size']}, median [quartiles] of "
            f"{counted(timing['rounds'], 'round')} that alternate over the rows, on {where}, "
            f"torch {torch}."
        )
    return lines


def _length(trained: dict[str, Any]) -> str:
    """How long the trainings were asked to be."""
    ends = trained.get("trainer") or {}
    epochs, steps = ends.get("max_epochs", trained["epochs"]) or -1, ends.get("max_steps") or -1
    ways = [counted(steps, "step")] if steps > 0 else []
    ways += [counted(epochs, "epoch")] if epochs > 0 else []
    ways += [f"a time of {ends['max_time']}"] if ends.get("max_time") else []
    return ", at most ".join(ways)


def describe_test(test: PairedTest) -> str:
    """One paired test as a sentence."""
    return (
        f"{test.first} against {test.second}: only the first right {test.only_first}, only the "
        f"second {test.only_second}, of {counted(test.videos, 'video')}; p = {test.p_value:.3g} "
        f"(Holm {test.p_holm:.3g})"
    )


METHOD = (
    "Crossed random effects of seeds and videos, t interval (Satterthwaite), 95 %; with one "
    "training over the videos alone"
)


def verdicts(comparison: Comparison) -> list[str]:
    """One sentence per pair of entries."""
    return [verdict_words(item, comparison) for item in comparison.differences]


def plain_text(comparison: Comparison, *, failures: bool = True) -> str:
    """The table with its notes, tests and failures, for a terminal or a log.

    Args:
        comparison: what was measured.
        failures: whether to list what failed.
    """
    columns, cells = table_cells(comparison)
    lines = []
    if cells:
        texts = [[column.title for column in columns], *cells]
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        for text in texts:
            padded = [
                cell.rjust(width) if column.number else cell.ljust(width)
                for cell, width, column in zip(text, widths, columns, strict=True)
            ]
            lines.append("  ".join(padded).rstrip())
        lines.insert(1, "  ".join("-" * width for width in widths))
        lines += ["", *notes(comparison)]
    if comparison.tests:
        lines += ["", "McNemar's exact test, two-sided, on the same videos:"]
        lines += [f"  {describe_test(test)}" for test in comparison.tests]
    if comparison.differences:
        lines += ["", f"Verdict ({METHOD}):"]
        lines += [f"  {words}" for words in verdicts(comparison)]
    if comparison.failed and failures:
        lines += [
            "",
            f"{len(comparison.failed)} of {counted(len(comparison.rows), 'entry')} failed:",
        ]
        lines += [f"  {row.name}: {row.error}" for row in comparison.failed]
    return "\n".join(lines)


def markdown(comparison: Comparison) -> str:
    """The same as Markdown."""
    columns, cells = table_cells(comparison)
    lines = ["# Comparison", ""]
    if cells:
        titles = [column.title for column in columns]
        rules = ["---:" if column.number else "---" for column in columns]
        lines += [markdown_row(line) for line in (titles, rules, *cells)]
        lines += ["", *(f"- {markdown_text(note)}" for note in notes(comparison))]
    if comparison.differences:
        lines += ["", "## Verdict", "", f"{METHOD}.", ""]
        lines += [f"- {markdown_text(words)}" for words in verdicts(comparison)]
    if comparison.tests:
        lines += ["", "## McNemar's exact test, two-sided, on the same videos", ""]
        head = ["pair", "videos", "only first right", "only second right", "p", "p (Holm)"]
        lines += [markdown_row(head), markdown_row(["---"] + ["---:"] * 5)]
        lines += [
            markdown_row(
                [
                    f"{test.first} / {test.second}",
                    *map(str, (test.videos, test.only_first, test.only_second)),
                    f"{test.p_value:.3g}",
                    f"{test.p_holm:.3g}",
                ]
            )
            for test in comparison.tests
        ]
    if comparison.failed:
        lines += ["", "## Failed", ""]
        lines += [f"- {markdown_text(f'{row.name}: {row.error}')}" for row in comparison.failed]
    return "\n".join(lines) + "\n"


def csv_text(comparison: Comparison) -> str:
    """One line per entry, plain numbers in base units."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_FIELDS, restval="")
    writer.writeheader()
    for row in comparison.rows:
        content = row.as_dict()
        cells = {key: content[key] for key in CSV_FIELDS if content.get(key) is not None}
        cells["views"] = "x".join(map(str, row.views))
        for key, score in (("top1", row.top1), ("top5", row.top5)):
            cells.pop(key, None)
            if score:
                cells[key] = score["value"]
                cells[f"{key}_low"], cells[f"{key}_high"] = score["wilson95"]
                cells["videos"] = score["total"]
        if row.inference:
            cells["clips_per_second"] = row.inference["clips_per_second"]
            cells["clips_per_second_q1"] = row.inference["low"]
            cells["clips_per_second_q3"] = row.inference["high"]
            cells["peak_memory_bytes"] = row.inference["peak_memory"]
        if row.training:
            cells["train_clips_per_second"] = row.training["clips_per_second"]
            cells["train_peak_memory_bytes"] = row.training["peak_memory"]
        writer.writerow(cells)
    return out.getvalue()
