"""A small data set and a small training for the tests of this room."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import seed_everything

from tests.small_data import DATA, write_small_data
from videonl.data import VideoDataModule
from videonl.training import FitResult, VideoClassifier, fit

RECIPE = {"optimizer": "adamw", "learning_rate": 0.003, "reference_batch": 2}
OPTIONS = {"width": 8, "dropout": 0.2}
QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "log_every_n_steps": 1}


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("small"), test=2)


def make_parts(
    root: Path,
    *,
    recipe: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    **data: Any,
) -> tuple[VideoClassifier, VideoDataModule]:
    """A classifier and a data module, the same ones every time."""
    seed_everything(0, verbose=False)
    module = VideoDataModule(str(root), **{**DATA, **data})
    module.setup("fit")
    classifier = VideoClassifier(
        "tiny_i3d_nl1",
        num_classes=module.num_classes,
        class_names=module.class_names,
        options={**OPTIONS, **(options or {})},
        preprocessing=module.preprocessing,
        recipe={**RECIPE, **(recipe or {})},
        **(model or {}),
    )
    return classifier, module


def trained(
    root: Path,
    run_dir: Path,
    *,
    epochs: int = 2,
    recipe: dict[str, Any] | None = None,
    trainer: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    network: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[VideoClassifier, FitResult]:
    """Train for some epochs: trained(root, run_dir, epochs=2, recipe={...}, resume=PATH)."""
    classifier, module = make_parts(
        root, recipe=recipe, options=network, model=model, **(data or {})
    )
    result = fit(
        classifier,
        module,
        run_dir=run_dir,
        trainer_options={**QUIET, "max_epochs": epochs, **(trainer or {})},
        **options,
    )
    return classifier, result


@pytest.fixture
def train(small_data: Path, tmp_path: Path) -> Callable[..., tuple[VideoClassifier, FitResult]]:
    """Train for some epochs: train(epochs=2, recipe={...}, resume=PATH, folder="a")."""

    def run(*, folder: str = "run", **options: Any) -> tuple[VideoClassifier, FitResult]:
        return trained(small_data, tmp_path / folder, **options)

    return run


@pytest.fixture(scope="session")
def once(
    small_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[VideoClassifier, FitResult]:
    """A training of one epoch, for tests that change nothing of it."""
    return trained(small_data, tmp_path_factory.mktemp("once") / "run", epochs=1)
