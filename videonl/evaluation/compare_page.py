"""A comparison as one HTML page that needs no network and no other file."""

from html import escape

from videonl.evaluation.compare_chart import chart_svg
from videonl.evaluation.compare_result import Comparison, Row
from videonl.evaluation.compare_table import (
    Column,
    columns_of,
    counted,
    describe_difference,
    notes,
)
from videonl.evaluation.page_style import SCRIPT, STYLE
from videonl.json_text import json_text

MOST_CLASSES = 40  # of a confusion matrix that a person can read; above it, the confused pairs
MOST_PAIRS = 20


def page_html(comparison: Comparison) -> str:
    """The page: table, chart, paired tests, confusion matrices, protocol and the raw data."""
    data = json_text(comparison.as_dict()).replace("<", "\\u003c")
    chart = chart_svg(comparison)
    if chart:
        title = escape(_chart_title(comparison))
        chart = f'<h2>{title}</h2><div class="scroll">{chart}</div>'
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # Nothing is ever fetched: the browser refuses it too.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">",
        f"<title>videonl compare</title><style>{STYLE}</style></head><body>",
        "<h1>Comparison of networks</h1>",
        f"<p>{escape(_subject(comparison))}</p>",
        _failures(comparison),
        _table(comparison),
        "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes(comparison)) + "</ul>",
        chart,
        _differences(comparison),
        _tests(comparison),
        _confusions(comparison),
        _protocol(comparison),
        f'<script type="application/json" id="data">{data}</script>',
        f"<script>{SCRIPT}</script></body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _subject(comparison: Comparison) -> str:
    data = comparison.protocol.get("data")
    names = f"{len(comparison.rows)} entries"
    if data is None:
        return f"{names}; no data set was given, so no accuracy was measured."
    return f"{names} on {data['videos']} videos of {data['root']} ({data['split']})."


def _chart_title(comparison: Comparison) -> str:
    measured = any(row.top1 for row in comparison.rows)
    return "Accuracy against cost" if measured else "Throughput against cost"


def _failures(comparison: Comparison) -> str:
    if not comparison.failed:
        return ""
    items = [
        f"<li><b>{escape(row.name)}</b>: {escape(row.error or '')}</li>"
        for row in comparison.failed
    ]
    return f'<h2 class="error">Failed</h2><ul id="failed">{"".join(items)}</ul>'


def _table(comparison: Comparison) -> str:
    """The sortable table; ``data-value`` holds what is sorted by."""
    columns = columns_of(comparison)
    head = "".join(
        f'<th scope="col"{_kind(column)}><button type="button">{escape(column.title)}</button></th>'
        for column in columns
    )
    body = "".join(_row(row, columns) for row in counted(comparison))
    return (
        f'<div class="scroll"><table id="table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _row(row: Row, columns: list[Column]) -> str:
    cells = "".join(
        f'<td{_kind(column)} data-value="{escape(_sorted_by(column.cell(row), column))}">'
        f"{escape(column.cell(row))}</td>"
        for column in columns
    )
    return f'<tr data-row="{escape(row.name)}">{cells}</tr>'


def _kind(column: Column) -> str:
    return ' class="number"' if column.number else ""


def _sorted_by(text: str, column: Column) -> str:
    """A number without its interval; other text as it is."""
    return text.split(" ")[0] if column.number else text


def _differences(comparison: Comparison) -> str:
    if not comparison.differences:
        return ""
    items = "".join(f"<li>{escape(describe_difference(d))}</li>" for d in comparison.differences)
    return (
        "<h2>Over all seeds</h2><p>Difference in top-1; paired bootstrap over seeds and videos, "
        f'95 % interval.</p><ul id="differences">{items}</ul>'
    )


def _tests(comparison: Comparison) -> str:
    if not comparison.tests:
        return ""
    rows = "".join(
        f"<tr><td>{escape(test.first)}</td><td>{escape(test.second)}</td>"
        f'<td class="number">{test.videos}</td><td class="number">{test.only_first}</td>'
        f'<td class="number">{test.only_second}</td><td class="number">{test.p_value:.3g}</td>'
        f'<td class="number">{test.p_holm:.3g}</td></tr>'
        for test in comparison.tests
    )
    titles = ("first", "second", "videos", "only first right", "only second right", "p", "p (Holm)")
    head = "".join(f"<th>{title}</th>" for title in titles)
    return (
        "<h2>Are the differences real?</h2><p>McNemar's exact test, two-sided, on the same videos: "
        "how probable so uneven a split of the videos that only one network gets right would be, "
        "if both were equally good. The last column is corrected for the number of pairs.</p>"
        f'<div class="scroll"><table id="tests"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _confusions(comparison: Comparison) -> str:
    rows = [row for row in comparison.shown if row.confusion]
    if not rows:
        return ""
    parts = ["<h2>Confusion</h2><p>Rows: the truth; columns: the answer; videos.</p>"]
    few = len(comparison.class_names) <= MOST_CLASSES
    for index, row in enumerate(rows):
        content = (_matrix if few else _pairs)(row, comparison.class_names)
        state = " open" if index < 2 else ""
        parts.append(
            f'<details{state}><summary>{escape(row.name)}</summary><div class="scroll">'
            f"{content}</div></details>"
        )
    return "".join(parts)


def _matrix(row: Row, names: list[str]) -> str:
    """Counts, shaded by the share of the truth's videos."""
    columns, rows = _with_unread(row, names)
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = []
    for name, counts in zip(names, rows, strict=True):
        total = sum(counts) or 1
        cells = []
        for answer, count in zip(columns, counts, strict=True):
            share = count / total
            colour = "68,119,170" if answer == name else "204,51,17"
            ink = "#fff" if share > 0.6 else "inherit"
            cells.append(
                f'<td style="background:rgba({colour},{share:.2f});color:{ink}">{count}</td>'
            )
        body.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    return (
        f'<table class="matrix"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def _with_unread(row: Row, names: list[str]) -> tuple[list[str], list[list[int]]]:
    """The answers and their counts, with a column of the videos that could not be read."""
    rows = row.confusion or []
    if not any(row.unread):
        return names, rows
    counted = [[*counts, unread] for counts, unread in zip(rows, row.unread, strict=True)]
    return [*names, "(unread)"], counted


def _pairs(row: Row, names: list[str]) -> str:
    """The most frequent mistakes, where the matrix would be too large to read."""
    columns, rows = _with_unread(row, names)
    mistakes = sorted(
        (
            (count, names[truth], columns[answer])
            for truth, counts in enumerate(rows)
            for answer, count in enumerate(counts)
            if count and truth != answer
        ),
        key=lambda mistake: -mistake[0],
    )[:MOST_PAIRS]
    body = "".join(
        f'<tr><td>{escape(truth)}</td><td>{escape(answer)}</td><td class="number">{count}</td></tr>'
        for count, truth, answer in mistakes
    )
    head = "<th>truth</th><th>answer</th><th>videos</th>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _protocol(comparison: Comparison) -> str:
    text = json_text(comparison.protocol, indent=2)
    return f"<h2>Protocol</h2><pre>{escape(text)}</pre>"
