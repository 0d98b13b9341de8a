"""The table of faithfulness in the docs is what was measured, and is measured again."""

import json

import pytest

faithful = pytest.importorskip("benchmarks.faithful")
RESULTS = json.loads(faithful.RESULTS.read_text(encoding="utf-8"))


def check(families: dict[str, dict[str, object]]) -> None:
    """Counts are 0, differences those of rounding."""
    assert list(families) == list(faithful.FAMILIES)
    for family, row in families.items():
        assert row["network"] < 1e-9, family
        assert row["gradients"] < 1e-9, family
        assert row["indices"] == row["crops"] == 0, family
        assert row["sizes"] in (0, *faithful.STRETCHES.values()), family
        assert row["normalisation"] < 1e-6, family
        assert row["averaging"] < 1e-12, family


def test_the_page_and_the_figures_agree() -> None:
    assert faithful.PAGE.read_text(encoding="utf-8") == faithful.page(RESULTS)
    check(RESULTS["families"])
    for row in RESULTS["families"].values():
        config = row["recipe"]
        assert config is None or (faithful.ROOT / "configs" / f"{config}.yaml").is_file()


@pytest.mark.slow
def test_the_figures_are_measured_again() -> None:
    found = faithful.measure()
    check(found)
    counted = ("indices", "sizes", "crops", "recipe")
    for family, row in found.items():
        stored = RESULTS["families"][family]
        assert {key: row[key] for key in counted} == {key: stored[key] for key in counted}
