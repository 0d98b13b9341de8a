"""Places in a ResNet: residual blocks per stage, inflated blocks, non-local blocks."""

from collections.abc import Mapping, Sequence

from videonl.shares import counted

STAGES = ("res2", "res3", "res4", "res5")
DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}  # residual blocks per stage

# Temporal extent of (conv_a, conv_b) in one residual block.
INFLATIONS = {"none": (1, 1), "3x1x1": (3, 1), "3x3x3": (1, 3)}
Inflation = str | Mapping[str, str | Sequence[str]]
# SlowOnly: the two last stages are inflated, every block of them.
SLOW = {"res4": "3x1x1", "res5": "3x1x1"}

# depth -> number of non-local blocks -> stage -> the residual blocks that they follow.
# 1: right before the last residual block of res4 (paper, section 4.1). 5 and ResNet-101: the
# released code. 10 in ResNet-101: GluonCV, which spreads six over the 23 blocks of res4.
NON_LOCAL_BLOCKS: dict[int, dict[int, dict[str, tuple[int, ...]]]] = {
    50: {
        1: {"res4": (4,)},
        5: {"res3": (1, 3), "res4": (1, 3, 5)},
        10: {"res3": (0, 1, 2, 3), "res4": (0, 1, 2, 3, 4, 5)},
    },
    101: {
        1: {"res4": (21,)},
        5: {"res3": (1, 3), "res4": (6, 13, 20)},
        10: {"res3": (0, 1, 2, 3), "res4": (2, 6, 10, 14, 18, 22)},
    },
}


def stage_blocks(depth: int, layers: Sequence[int] | None) -> tuple[int, ...]:
    """Residual blocks of each stage, by depth or as given.

    Raises:
        ValueError: an unknown depth; not one to four stages of one block or more.
    """
    if layers is None:
        if depth not in DEPTHS:
            known = ", ".join(map(str, DEPTHS))
            raise ValueError(f"depth is {depth}; it must be one of {known}, or give layers=")
        return DEPTHS[depth]
    if not 1 <= len(layers) <= len(STAGES) or min(layers) < 1:
        raise ValueError(f"layers is {list(layers)}; it must be one to four counts of 1 or more")
    return tuple(layers)


def inflated(stage: str, block: int) -> bool:
    """Whether the paper inflates this residual block ("every second residual block").

    The released code inflates all of res2, the even blocks of res3 and res4, the odd of res5.
    """
    return stage == "res2" or block % 2 == (1 if stage == "res5" else 0)


def block_inflation(inflation: Inflation, stage: str, block: int) -> tuple[int, int]:
    """Temporal extents of (conv_a, conv_b) of one residual block.

    Args:
        inflation: ``"none"``, ``"3x1x1"`` or ``"3x3x3"`` for the paper's pattern, or by stage,
            ``{"res4": "3x1x1", "res5": ("none", "3x1x1", "none")}``: a name for the whole stage
            or one per block; stages that are not named are not inflated.
        stage: ``"res2"`` … ``"res5"``.
        block: index of the residual block within the stage.

    Raises:
        ValueError: an unknown stage or name, or a list that is too short.
    """
    if isinstance(inflation, str):
        name = inflation if inflated(stage, block) or inflation not in INFLATIONS else "none"
    else:
        check_stages("inflation", inflation)
        value = inflation.get(stage, "none")
        if not isinstance(value, str) and block >= len(value):
            raise ValueError(
                f"inflation of {stage}: {counted(len(value), 'block')} given, but block {block} "
                "is missing"
            )
        name = value if isinstance(value, str) else value[block]
    if name not in INFLATIONS:
        raise ValueError(f"inflation is {name!r}; it must be one of {', '.join(INFLATIONS)}")
    return INFLATIONS[name]


def non_local_places(
    non_local: Mapping[str, Sequence[int] | int], blocks: Mapping[str, int]
) -> list[tuple[str, int]]:
    """(stage, residual block) of every non-local block, in the order of the network.

    Args:
        non_local: stage -> indices of the residual blocks that a non-local block follows.
        blocks: stage -> number of its residual blocks.

    Raises:
        ValueError: a stage or a residual block that the network does not have.
    """
    check_stages("non_local", non_local)
    places = []
    for stage, indices in non_local.items():
        for block in sorted({indices} if isinstance(indices, int) else set(indices)):
            count = blocks.get(stage, 0)
            if not 0 <= block < count:
                raise ValueError(
                    f"non_local names residual block {block} of {stage}, which has "
                    f"{counted(count, 'block')} (counted from 0)"
                )
            places.append((stage, block))
    return sorted(places)


def check_stages(option: str, by_stage: Mapping[str, object]) -> None:
    """Refuse keys that are not stages.

    Raises:
        ValueError: names the option, the key and the stages.
    """
    for stage in by_stage:
        if stage not in STAGES:
            raise ValueError(f"{option} names {stage!r}; the stages are {', '.join(STAGES)}")
