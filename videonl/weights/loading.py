"""Load a published checkpoint into a network: one chosen by name, or the one in the file."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from videonl.class_names import kinetics400
from videonl.errors import CheckpointError
from videonl.layers import NonLocalBlock
from videonl.models.presets import PRESETS
from videonl.models.registry import model_options
from videonl.shares import counted
from videonl.video.preprocessing import CLIP
from videonl.weights.declared import preprocessing_in_file
from videonl.weights.fitting import Wanted, differing
from videonl.weights.formats import translate
from videonl.weights.formats.own import OwnCheckpoint, read_own
from videonl.weights.formats.torchvision import inflate
from videonl.weights.geometry import name_of
from videonl.weights.heads import align_head, without_heads
from videonl.weights.published import (
    Published,
    clip_preprocessing,
    find_file,
    local_file,
)
from videonl.weights.report import LoadReport
from videonl.weights.safe import Content, read_content
from videonl.weights.translated import Translated, merge_options

HEAD = "head.projection"
KINETICS = 400  # classes; every published network with this number was trained on Kinetics-400
WEIGHTS = "weights"  # option: the table to use if a file has several
# What the name of a network determines; a file never overrides it.
SAID_BY_NAME = ("depth", "layers", "inflation", "stem_kernel", "non_local")


def load_pretrained(
    model_name: str,
    source: str | Path,
    *,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    **options: Any,
) -> nn.Module:
    """Make a network by name and initialise it from a checkpoint.

    The name determines depth, inflation and the places of the non-local blocks; the file the graph
    (strides, paddings, form of the blocks, head, mean and std); ``options`` override both.
    Non-local blocks that the checkpoint does not have start as the identity, so the logits are
    exactly those of the plain network. Kernels of an image network are inflated.

    Args:
        model_name: as for ``create_model``.
        source: a checkpoint file, or the name of published weights (``videonl models``) or of a
            repository on the hub (``hf:user/name``).
        num_classes: None for those of the file; for another number the classifier is new.
        class_names: of the data: the classifier's rows are reordered by name if the file has
            exactly these names, else the classifier is new. None keeps one of ``num_classes``.
        options: as for ``create_model``; ``weights`` names the table of a file that has several.

    Returns:
        The network, with ``load_report``: what was loaded, skipped and new.

    Raises:
        CheckpointError: an unknown, unsafe, ambiguous or incomplete file, or one of another
            network; the message lists the keys.
    """
    content = read_content(local_file(source))
    own = read_own(content, network=model_name)
    if own is None:
        translated = translate(content, weights=options.pop(WEIGHTS, None))
    else:
        translated = from_own(own)
    settle(translated, content, options)
    model, report = build(
        translated,
        content,
        model_name=model_name,
        num_classes=num_classes,
        options=options,
        class_names=class_names,
    )
    report.licence = translated.licence if own is None else own.provenance.get("licence")
    model.load_report = report  # type: ignore[assignment]
    return model


def load_published(
    content: Content, *, num_classes: int | None, options: Mapping[str, Any] | None
) -> tuple[nn.Module, LoadReport, Translated, dict[str, Any]]:
    """Make the network of a published file.

    Returns:
        (network, report, what the file says of its classes, provenance).

    Raises:
        CheckpointError: see ``load_pretrained``.
    """
    options = dict(options or {})
    translated = translate(content, weights=options.pop(WEIGHTS, None))
    settle(translated, content, options)
    model, report = build(
        translated, content, model_name=None, num_classes=num_classes, options=options
    )
    classes = int(model.config["num_classes"])  # type: ignore[index,arg-type]
    own = classes == head_of(translated)[1]
    translated.class_names = names_of(translated, classes) if own else None
    about = {
        "file": content.path.name,
        "family": translated.family,
        "licence": translated.licence,
        "notes": list(report.notes),
    }
    return model, report, translated, about


def from_own(own: OwnCheckpoint) -> Translated:
    """Use one of our own files to initialise a network of any name."""
    options = {k: v for k, v in own.config["options"].items() if k not in SAID_BY_NAME}
    # How its training sampled videos (fps, short videos) belongs to its data set, not the network.
    shape = {k: v for k, v in own.preprocessing.items() if k in CLIP}
    if shape:
        options["preprocessing"] = shape
    return Translated(
        "videonl",
        own.tensors,
        options,
        model_name=own.config["name"],
        skipped=list(own.skipped),
        class_names=own.class_names,
    )


def settle(translated: Translated, content: Content, options: Mapping[str, Any]) -> None:
    """Settle what the file leaves open: by the user, its metadata, or a published file's name.

    Raises:
        CheckpointError: none of them does; names the option that does.
    """
    question = translated.question
    is_open = question is not None and not question.answered(options)
    hints = translated.hints.lower().replace("-", "_")
    if question is not None and is_open:
        said = [answer for answer in question.answers if answer in hints]
        if len(said) == 1:
            translated.options = merge_options(translated.options, question.answers[said[0]])
            translated.notes.append(f"{said[0]}, from the file's own metadata")
            is_open = False
    published = find_file(
        content.path.name, family=translated.family, model=network_name(translated)[0]
    )
    if published is not None:
        answered = question is not None and question.answered(options)
        apply_published(translated, published, content, ask_name=not answered)
    elif question is not None and is_open:
        raise CheckpointError(
            f"{content.path} ({translated.family}) leaves open {question.about}; give "
            f"{question.option} to create_model, in load_checkpoint(options=...), or as "
            "--option NAME=VALUE to infer.py or videonl convert SRC DST.safetensors"
        )


def apply_published(
    translated: Translated, published: Published, content: Content, *, ask_name: bool
) -> None:
    """Add what a published file does not contain but its name implies, with a note."""
    found = dict(published.options) if ask_name else {}
    if found:
        note = f"{found}: taken from the file name, which is that of {published.name}"
        translated.notes.append(note)
        warnings.warn(f"{content.path}: {note}", stacklevel=2)
    preset = PRESETS.get({**translated.options, **found}.get("preset", ""))
    clip = clip_preprocessing(published.clip)
    if preset is not None and preset.preprocessing.changed(**clip) != preset.preprocessing:
        found = merge_options({"preprocessing": clip}, found)
        translated.notes.append(
            f"clips of {published.clip}, as in the training of {published.name}"
        )
    translated.options = merge_options(translated.options, found)


def network_of(source: str | Path) -> str | None:
    """Name of the registered network that a checkpoint holds; None for an image network.

    Raises:
        CheckpointError: an unknown or unsafe file.
    """
    content = read_content(local_file(source))
    own = read_own(content)
    if own is not None:
        return str(own.config["name"])
    translated = translate(content)
    return None if translated.image else network_name(translated)[0]


def network_name(translated: Translated) -> tuple[str, dict[str, Any]]:
    """(registered network in the file, the options that its name does not imply)."""
    if translated.model_name is not None:
        return translated.model_name, {}
    if not {"layers", "inflation"} <= set(translated.options):
        return "another network", {}
    return name_of(translated.options)


def build(
    translated: Translated,
    content: Content,
    *,
    model_name: str | None,
    num_classes: int | None,
    options: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
) -> tuple[nn.Module, LoadReport]:
    """Make the network and fill it."""
    report = LoadReport(
        str(content.path),
        translated.family,
        skipped=list(translated.skipped),
        # What an option of the user's settles is no longer open.
        notes=[n for n in translated.notes if not any(f"{name}=" in n for name in options)],
    )
    if model_name is None:
        name, said = network_name(translated)
        said = merge_options(said, options)
    else:
        name, said = model_name, chosen_options(translated, model_name, options)
    head, of_file = head_of(translated)
    wanted = Wanted(name, of_file if num_classes is None else num_classes, said)
    skeleton = wanted.skeleton(report, tensors=len(translated.tensors))
    tensors, fresh = dict(translated.tensors), []
    if translated.peer_keys and any(key in translated.peer_keys for key in skeleton.state_dict()):
        tensors = dict(translated.peer_keys)  # the network is the peer's own
        head = next(key.removesuffix(".weight") for key in tensors if key.endswith("proj.weight"))
    if wanted.num_classes != of_file:
        reason = f"classifier of {counted(of_file, 'class')}"
        tensors = without_heads(tensors, [head], reason, report)
        fresh.append(f"{head}.")
    elif class_names is not None and not align_head(
        tensors, head, names_of(translated, of_file), class_names, report
    ):
        tensors = without_heads(tensors, [head], "classifier of other classes", report)
        fresh.append(f"{head}.")
    if not any(".non_local." in key for key in tensors):
        fresh += [f"{n}." for n, m in skeleton.named_modules() if isinstance(m, NonLocalBlock)]
    if translated.image:
        tensors, spread = inflate(tensors, skeleton.state_dict())
        if spread:
            report.notes.append(f"{counted(len(spread), 'image kernel')} inflated over time")
    about = difference(translated, wanted, report)
    model = wanted.filled(skeleton, tensors, report, fresh=fresh, about=about)
    preprocessing_in_file(model.preprocessing, content.path)  # type: ignore[arg-type]
    return model.eval() if model_name is None else model, report


def difference(translated: Translated, wanted: Wanted, report: LoadReport) -> str:
    """The message if tensors do not fit: which network the file contains, and what to do."""
    holds, rest = network_name(translated)
    rest = {key: value for key, value in rest.items() if key not in ("preset", "preprocessing")}
    other = differing(rest, wanted.options)
    if holds == wanted.name and not other:
        return f"{report.source} ({report.family}) is not a whole {holds}, or more than that"
    options = f" with {', '.join(other)}" if other else ""
    flags = " ".join([f"--model.name {holds}", *(f"--model.options.{each}" for each in other)])
    return (
        f"{report.source} ({report.family}) does not fit: the file contains {holds}{options}, but "
        f"the network is {wanted.name}; use {flags}"
    )


def names_of(translated: Translated, classes: int) -> list[str] | None:
    """The names of the file's classes, if known: its own, or those of Kinetics-400."""
    if translated.class_names is not None:
        return translated.class_names
    published = translated.family != "videonl" and not translated.image
    return kinetics400() if published and classes == KINETICS else None


def chosen_options(
    translated: Translated, model_name: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The options for a network by name: those of the name, then the file's, then the user's."""
    known = model_options(model_name)
    found = {k: v for k, v in translated.options.items() if k not in SAID_BY_NAME}
    if known is not None:
        found = {key: value for key, value in found.items() if key in known}
    return merge_options(found, options)


def head_of(translated: Translated) -> tuple[str, int]:
    """(path of the classifier, its number of classes) in a translated checkpoint.

    Raises:
        CheckpointError: there is none.
    """
    heads = (HEAD, "fc", "classifier.1", "blocks.6.proj", "blocks.5.proj")
    for head in heads:
        weight = translated.tensors.get(f"{head}.weight")
        if weight is not None:
            return head, weight.shape[0]
    raise CheckpointError(
        f"this {translated.family} checkpoint has no classifier; it is incomplete"
    )
