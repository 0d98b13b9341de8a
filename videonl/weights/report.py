"""What happened to every tensor when a checkpoint was loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from videonl.errors import CheckpointError
from videonl.models.finite import check_finite
from videonl.shares import counted, few

SHOWN = 8  # keys per line of the summary
SHOWN_OF_ERROR = 3  # per kind


@dataclass
class LoadReport:
    """The tensors that were loaded, skipped or newly initialised, by name.

    Attributes:
        source: the file.
        family: which reader read it, "videonl" for our own formats.
        loaded: keys of the network that were filled from the file.
        skipped: what is in the file and was not used, with the reason.
        new: keys of the network that are newly initialised.
        notes: decisions that a user should know of.
        licence: of the weights that were loaded, as far as known; it also applies to what is
            trained from them.
    """

    source: str
    family: str
    loaded: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    licence: str | None = None

    def __str__(self) -> str:
        tensors = counted(len(self.loaded), "tensor")
        lines = [f"{self.source}: {self.family}, {tensors} loaded"]
        for title, names in (("skipped", self.skipped), ("new", self.new)):
            if names:
                lines.append(f"  {title} ({len(names)}): {few(names, SHOWN)}")
        lines += [f"  note: {note}" for note in self.notes]
        if self.licence:
            lines.append(f"  licence of the weights: {self.licence}")
        return "\n".join(lines)


def check_fit(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    report: LoadReport,
    *,
    fresh: Sequence[str] = (),
    about: str = "",
) -> list[str]:
    """Compare every tensor of a network with those of a file, strictly both ways.

    Args:
        model: the network, or its skeleton on the meta device.
        tensors: by the network's own keys.
        report: names the file.
        fresh: prefixes of keys that may be newly initialised, because the caller asked for it.
        about: the start of the message, before the keys.

    Returns:
        The keys that are newly initialised.

    Raises:
        CheckpointError: says what does not fit, and a few of the keys that are missing, unexpected
            or of another shape.
    """
    own = model.state_dict()
    may_be_new = tuple(fresh)
    counters = [k for k in own if k.endswith("num_batches_tracked") and k not in tensors]
    new = [k for k in own if may_be_new and k.startswith(may_be_new) and k not in tensors]
    missing = [k for k in own if k not in tensors and k not in new and k not in counters]
    surplus = [k for k in tensors if k not in own]
    wrong = [
        f"{k} {tuple(tensors[k].shape)}, wanted {tuple(own[k].shape)}"
        for k in own
        if k in tensors and tensors[k].shape != own[k].shape
    ]
    whole = [
        f"{k} ({tensors[k].dtype})"
        for k in own
        if k in tensors and own[k].is_floating_point() and not tensors[k].is_floating_point()
    ]
    problems = [
        f"{title}: {few(names, SHOWN_OF_ERROR)}"
        for title, names in (
            ("shape", wrong),
            ("missing", missing),
            ("unexpected", surplus),
            ("not floating point", whole),
        )
        if names
    ]
    if problems:
        about = about or f"{report.source} ({report.family}) does not fit the network"
        raise CheckpointError(f"{about} ({'; '.join(problems)})")
    return [k for k in new if k not in counters]


def fill(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    report: LoadReport,
    *,
    fresh: Sequence[str] = (),
    about: str = "",
) -> None:
    """Fill every tensor of a network in place; ``report`` gets ``loaded`` and ``new``.

    The arguments are those of ``check_fit``.

    Raises:
        CheckpointError: see ``check_fit``, or names a tensor that is not finite; the network is
            then unchanged.
    """
    new = check_fit(model, tensors, report, fresh=fresh, about=about)
    own = model.state_dict()
    check_finite({k: tensors[k] for k in own if k in tensors}, source=report.source)
    model.load_state_dict({**own, **tensors})
    report.loaded += [k for k in own if k in tensors]
    report.new += new
