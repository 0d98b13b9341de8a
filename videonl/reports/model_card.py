"""The files of a run for the hub: weights, their description, and a model card.

The card has only what the files of the run say. Paths are reduced to the names of their folders.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path, PurePath
from typing import Any

import yaml
from markupsafe import Markup
from torch import nn

from videonl.errors import VideoNLError
from videonl.escapes import as_word, json_text, parse_json
from videonl.evaluation.cost import count_cost
from videonl.files import read_yaml, sha256, write_text
from videonl.reports.pages import render
from videonl.shares import accuracy, percent
from videonl.training.callbacks.summary import figures_of, optimistic
from videonl.video.preprocessing import Preprocessing
from videonl.weights.checkpoint import LoadedModel, load_checkpoint, save_checkpoint
from videonl.weights.foreign_settings import part
from videonl.weights.hub import pinned_name
from videonl.weights.published import local_file
from videonl.weights.run_folder import CONFIG, LAST, MODEL, run_of
from videonl.weights.safe import read_content

CARD, CENSUS = "README.md", "census.json"
# As the hub writes them; what it does not know goes by "other" and its own name.
LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "agpl-3.0"),
    *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
    *("cc-by-nc-nd-4.0", "cc-by-nd-4.0", "openrail", "unlicense"),
)
RECIPE = ("optimizer", "learning_rate", "reference_batch", "weight_decay", "schedule")
ITS_OWN = {"sgd": ("momentum", "nesterov"), "adamw": ("beta2",)}  # what an optimizer alone reads


@dataclass
class Run:
    """What is known of a checkpoint.

    Attributes:
        loaded: its network and what belongs to it.
        repository: ``user/name``, where it goes.
        licence: of the weights; None where nobody said it.
        settings: of the training (``config.yaml``); empty without.
        census: split -> how many videos were found, and the like; empty without.
        results: of ``test`` and ``validate``, each as its JSON holds it.
        best: of the validation in the training, as ``summary.md`` shows it; None without.
        epochs: that the training had when its last checkpoint was written.
    """

    loaded: LoadedModel
    repository: str
    licence: str | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    census: Mapping[str, Any] = field(default_factory=dict)
    results: Sequence[Mapping[str, Any]] = ()
    best: Mapping[str, Any] | None = None
    epochs: int = 1

    @property
    def data(self) -> str:
        """The name of the data set's folder; "" where it is not known."""
        roots = [result.get("data") for result in self.results]
        root = next(filter(None, [*roots, part(self.settings, "data").get("root")]), "")
        return PurePath(str(root)).name


def write_package(
    source: str | Path,
    folder: Path,
    *,
    repository: str,
    licence: str | None = None,
    network: str | None = None,
) -> Run:
    """Write ``model.safetensors``, ``model.json`` and ``README.md``.

    Args:
        source: a run's folder or any checkpoint; its results lie beside it.
        folder: is made where it is missing.
        repository: ``user/name`` that the card names.
        licence: of the weights; by default that of the weights that the training started from.
        network: see ``load_checkpoint``.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        VideoNLError: a result or configuration beside it cannot be read.
        OutputError: the folder cannot be written.
    """
    path = local_file(source)
    loaded = load_checkpoint(path, network=network)
    about = loaded.provenance
    start = about.get("provenance")
    if start and PurePath(str(start)).is_absolute():  # whose folders these are is nobody's matter
        about["provenance"] = pinned_name(str(start)) or PurePath(str(start)).name
    chosen = licence or about.get("licence")
    best, epochs = best_of(path)
    folder_of_run = run_of(path)
    run = Run(
        loaded,
        repository,
        str(chosen) if chosen else None,
        settings=read_table(folder_of_run / CONFIG),
        census=read_table(folder_of_run / CENSUS),
        results=results_of(path),
        best=best,
        epochs=epochs,
    )
    text = card(run)
    folder.mkdir(parents=True, exist_ok=True)
    more = {"sha256": sha256(path), "licence": run.licence or "not stated"}
    save_checkpoint(loaded, folder / MODEL, provenance=more)
    write_text(folder / CARD, text)
    return run


def read_table(file: Path) -> dict[str, Any]:
    """The table in a YAML file of a run, or in a JSON file of any length; empty without a file.

    Raises:
        VideoNLError: it is not YAML, or not JSON.
    """
    if not file.is_file():
        return {}
    if file.suffix == ".json":
        try:
            found = parse_json(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise VideoNLError(f"{file} is not JSON ({error}); move it") from None
    else:
        found = read_yaml(file)
    return found if isinstance(found, dict) else {}


def results_of(checkpoint: Path) -> list[dict[str, Any]]:
    """The results of ``test`` and ``validate`` of a checkpoint that are newer than it, tests first.

    Raises:
        VideoNLError: a file that is called like one, and is none.
    """
    found = []
    for file in sorted(checkpoint.parent.glob(f"{escape(checkpoint.stem)}_*.json")):
        if file.stat().st_mtime < checkpoint.stat().st_mtime:
            continue
        try:
            result = parse_json(file.read_text(encoding="utf-8"))
            both = [result, *({**result, **own} for own in result.get("own_protocol") or ())]
            list(result_rows(both))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise VideoNLError(f"{file} is not a result of test; move it, or test again") from None
        found += both
    return sorted(found, key=lambda each: each["protocol"]["split"] != "test")


def best_of(checkpoint: Path) -> tuple[dict[str, Any] | None, int]:
    """(scores of the validation after which a checkpoint was written, epochs of the training)."""
    own, last = map(training_of, (checkpoint, checkpoint.with_name(LAST)))
    epochs = [each["epoch"] + 1 for each in (own, last) if isinstance(each.get("epoch"), int)]
    best = dict(part(part(part(own, "callbacks"), "Summary"), "best"))
    try:
        figures_of(best)
        fitting = best["epoch"] == own["epoch"] + 1
    except (LookupError, TypeError, ValueError):  # none, or of somebody else's making
        fitting = False
    return best if fitting else None, max(epochs, default=1)


def training_of(path: Path) -> Mapping[str, Any]:
    """What a checkpoint of a training holds; nothing of another file."""
    content = read_content(path, in_place=True) if path.is_file() else None
    if content is None or content.kind != "torch" or not isinstance(content.data, Mapping):
        return {}
    return content.data


def card(run: Run) -> str:
    """The model card: YAML for the hub, then Markdown for people."""
    config: Any = run.loaded.model.config
    shown = Preprocessing.from_dict(run.loaded.preprocessing)
    recipe = part(run.settings, "recipe")
    keys = (*RECIPE, *ITS_OWN.get(str(recipe.get("optimizer")), ()))
    tests = [r["scores"]["videos"] for r in run.results if r["protocol"]["split"] == "test"]
    best = run.best or {}
    scores = list(result_rows(run.results))
    if run.best is not None:
        where = f"val in training, {best['videos']}", str(best.get("views", ""))
        scores += [(*where, *row) for row in figures_of(dict(best))]
    return render(
        "model_card.md",
        front=Markup(yaml.safe_dump(front_matter(run), sort_keys=False, allow_unicode=True)),
        run=run,
        config=config,
        word=Markup(as_word(f"hf:{run.repository}")),
        repository=Markup(run.repository),
        census=run.census or part(run.results[0] if run.results else {}, "data_census"),
        about=run.loaded.provenance,
        recipe=[f"{key} {recipe[key]}" for key in keys if recipe.get(key) is not None],
        shown=shown,
        protocol=[
            (key, value if isinstance(value, str) else json_text(value))
            for key, value in shown.protocol().items()
            if value is not None and key not in ("clips", "crops")
        ],
        scores=scores,
        optimistic=run.best and optimistic(run.epochs, int(best["videos"])),
        cost=cost_words(run.loaded.model, shown),
        tested=int(tests[0]) if tests else 0,
    )


def front_matter(run: Run) -> dict[str, Any]:
    """What the hub reads."""
    config: Any = run.loaded.model.config
    front: dict[str, Any] = licence_entries(run.licence)
    front |= {
        "library_name": "videonl",
        "pipeline_tag": "video-classification",
        "tags": ["video-classification", "non-local-neural-networks", str(config["name"])],
    }
    scores = run.results[0]["scores"] if run.results else {}
    key = "video_map" if "video_map" in scores else "video_top1"
    if run.data and scores.get(key) is not None:
        split = str(run.results[0]["protocol"].get("split"))
        kind, words = ("mAP", "mAP") if key == "video_map" else ("accuracy", "video top-1")
        dataset = {"name": run.data, "type": run.data, "split": split}
        metric = {"type": kind, "name": words, "value": round(float(scores[key]), 4)}
        task = {"type": "video-classification"}
        results = [{"task": task, "dataset": dataset, "metrics": [metric]}]
        front["model-index"] = [{"name": run.repository.split("/")[1], "results": results}]
    return front


def licence_entries(licence: str | None) -> dict[str, str]:
    """A licence as the hub writes it; what it does not know keeps its name.

    Example:
        >>> licence_entries("CC BY-NC 4.0 where the weights are the authors'")
        {'license': 'cc-by-nc-4.0'}
    """
    if licence is None:
        return {}
    words = licence.lower().split()  # its name, and perhaps more; "MIT-0" is not "MIT"
    starts = ["-".join(words[:count]) for count in range(len(words), 0, -1)]
    known = [start for start in starts if start in LICENCES]
    return {"license": known[0]} if known else {"license": "other", "license_name": licence}


def result_rows(results: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """(videos, views, what, value) of results of ``test`` and ``validate``."""
    for result in results:
        scores, protocol = result["scores"], result["protocol"]
        total = int(scores["videos"])
        where = f"{protocol['split']}, {total}", str(protocol["views"])
        for key, words, shown in (
            ("video_top1", "top-1", accuracy),
            ("video_top5", "top-5", accuracy),
            ("video_map", "mean average precision", percent),
            ("hit1", "hit@1", accuracy),
            ("mean_per_class", "mean per-class accuracy", percent),
            ("majority_baseline", "baseline: always the most frequent class", percent),
            ("constant_baseline", "baseline: the same answer for every video, mAP", percent),
        ):
            few = key == "video_top5" and len(result.get("per_class") or ()) <= 5
            if scores.get(key) is not None and not few:
                yield (*where, words, shown(float(scores[key]), total))


def cost_words(model: nn.Module, shown: Preprocessing) -> str:
    """Parameters and multiplications."""
    clip = (3, *shown.view_shape)
    try:
        cost = count_cost(model, clip_shape=clip)
    except (RuntimeError, NotImplementedError, ValueError):  # a network that meta cannot run
        parameters = sum(p.numel() for p in model.parameters())
        return f"{parameters / 1e6:.2f} M parameters; the operations could not be counted."
    each = cost.macs / 1e9
    size = "x".join(map(str, clip[1:]))
    return (
        f"{cost.params / 1e6:.2f} M parameters; {each:.4g} GMACs ({2 * each:.4g} GFLOPs) per view "
        f"of {size}, {each * shown.num_views:.4g} GMACs per video of {shown.shown_views}."
    )
