"""A JSON Lines output as CSV."""

from pathlib import Path

from videonl.inference.output_lines import CsvWriter, is_prediction, read_lines
from videonl.inference.prediction import Failure, Prediction


def write_csv(source: Path, path: Path) -> None:
    """Write the rows that ``videonl predict --csv`` would have written.

    Args:
        source: a JSON Lines output of ``videonl predict`` or ``videonl merge``.
        path: of the CSV.
    """
    entries = (entry for _, _, entry in read_lines(source))
    header = next(entries)
    run = {key: header[key] for key in ("model", "protocol")}
    widths = (len(entry["classes"]) for _, _, entry in read_lines(source) if is_prediction(entry))
    writer = CsvWriter(path, run=run, top_k=max(widths, default=1))
    for entry in entries:
        if is_prediction(entry):
            writer.add(
                Prediction(
                    path=entry["path"],
                    classes=tuple(choice["class"] for choice in entry["classes"]),
                    probabilities=tuple(choice["probability"] for choice in entry["classes"]),
                    views=(),
                    model=run["model"],
                    protocol=run["protocol"],
                )
            )
        else:
            writer.fail(Failure(entry["path"], entry["error"]))
    writer.close()
