"""The result of reading a published checkpoint: our keys, our options, and open questions."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from videonl.errors import CheckpointError
from videonl.shares import counted, few
from videonl.weights.report import SHOWN_OF_ERROR

NORM = "(weight|bias|running_mean|running_var|num_batches_tracked)"
Rules = Sequence[tuple[str, str]]  # (pattern of a whole key, our key)


@dataclass(frozen=True)
class Question:
    """A setting that neither the file nor the shapes of its tensors determine.

    Attributes:
        about: what is open, in words.
        option: the option that answers it, as a user writes it.
        answered: whether the user's options answer it.
        answers: answer -> the options that it stands for.
    """

    about: str
    option: str
    answered: Callable[[Mapping[str, Any]], bool]
    answers: Mapping[str, Mapping[str, Any]]


@dataclass
class Translated:
    """A published checkpoint in our keys and options.

    Attributes:
        family: the reader's name.
        tensors: by the keys of the network.
        options: options of the network that the file determines.
        model_name: a registered network outside of the ResNet3D family; None for that family.
        image: the weights of an image network: to be inflated, their classifier is ImageNet's.
        skipped: source keys that are not used, each with the reason.
        notes: decisions that a user should know of.
        question: a setting that the file does not determine.
        hints: text of the file's own metadata in which an answer may be found.
        licence: of the published weights of this family, as far as known.
        peer_keys: the tensors by the peer's keys, if its own network is registered here too.
        class_names: of its classifier; None if unknown.
        multi_label: a video may have several of the classes.
    """

    family: str
    tensors: dict[str, Tensor]
    options: dict[str, Any] = field(default_factory=dict)
    model_name: str | None = None
    image: bool = False
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    question: Question | None = None
    hints: str = ""
    licence: str = "as stated where the weights are published"
    peer_keys: Mapping[str, Tensor] = field(default_factory=dict)
    class_names: list[str] | None = None
    multi_label: bool = False


def rename(
    tensors: Mapping[str, Tensor],
    rules: Rules,
    *,
    family: str,
    ignored: Rules = (),
    first_stage: int | None = None,
) -> tuple[dict[str, Tensor], list[str]]:
    """Replace the source's keys by ours; every key must be known.

    Args:
        tensors: by source key.
        rules: (pattern of the whole source key, template of ours).
        family: for the message.
        ignored: (pattern, reason) of keys that are left out.
        first_stage: number of the source's first residual stage, where the templates have its
            numbers of stages and convolutions: ``res1.0.conv_3`` is our ``res2.0.conv_c``.

    Returns:
        (tensors by our key, the ignored keys with their reasons).

    Raises:
        CheckpointError: lists the keys that no rule knows, or that mean the same.
    """
    compiled = [(re.compile(pattern), template) for pattern, template in rules]
    passing = [(re.compile(pattern), reason) for pattern, reason in ignored]
    renamed: dict[str, Tensor] = {}
    skipped, unknown = [], []
    for key, tensor in tensors.items():
        reason = next((reason for pattern, reason in passing if pattern.fullmatch(key)), None)
        if reason is not None:
            skipped.append(f"{key} ({reason})")
            continue
        hits = ((pattern.fullmatch(key), template) for pattern, template in compiled)
        ours = next((hit.expand(template) for hit, template in hits if hit), None)
        if ours is not None and first_stage is not None:
            ours = _renumbered(ours, first_stage)
        if ours is None or ours in renamed:
            unknown.append(key)
        else:
            renamed[ours] = tensor
    if unknown:
        raise CheckpointError(
            f"this {family} checkpoint has {counted(len(unknown), 'key')} that its reader does not "
            f"know: {few(unknown, SHOWN_OF_ERROR)}"
        )
    return renamed, skipped


def _renumbered(key: str, first_stage: int) -> str:
    """A key whose stages count from 2 and whose convolutions have letters."""
    key = re.sub(r"^res(\d)", lambda stage: f"res{int(stage[1]) - first_stage + 2}", key)
    return re.sub(r"(?<=\.)(conv|norm)_(\d)", lambda c: f"{c[1]}_{'abc'[int(c[2]) - 1]}", key)


def need(tensors: Mapping[str, Tensor], key: str, *, family: str) -> Tensor:
    """A tensor that every file of this family must have.

    Raises:
        CheckpointError: it is missing.
    """
    if key not in tensors:
        raise CheckpointError(f"this {family} checkpoint has no {key}; the file is incomplete")
    return tensors[key]


def merge_options(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two tables; the second wins, ``non_local_options`` and ``preprocessing`` by entry."""
    merged = {**first, **second}
    for name in ("non_local_options", "preprocessing"):
        if isinstance(first.get(name), Mapping) and isinstance(second.get(name), Mapping):
            merged[name] = {**first[name], **second[name]}
    return merged
