"""Small files that ask for much: refused in one sentence, in no time and no memory."""

import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.checkpoints import write_ckpt
from tests.marks import mostly_slow
from tests.weights.hostile_files import CASES, NESTS, OTHERS, declared
from videonl.errors import CheckpointError
from videonl.models import create_model, list_models
from videonl.training import read_checkpoint
from videonl.weights import LoadedModel, load_checkpoint, save_checkpoint

# A second is what a user may wait; in a process full of other tests the same work took up to 1.3 s.
SECONDS, MEGABYTES = 5.0, 100


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What every command loads anyway is not counted."""
    path = write_ckpt(tmp_path_factory.mktemp("warm") / "good.ckpt")
    assert load_checkpoint(path).class_names
    assert read_checkpoint(path)["state_dict"]


def refused(path: Path, load: Callable[[Path], Any]) -> str:
    """The sentence, after time and memory were measured."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()  # other work on the machine is not the file's
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert time.process_time() - start < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 1024 * MEGABYTES
    sentence = str(caught.value)
    assert str(path.with_suffix("")) in sentence  # the file, or its sidecar
    assert len(sentence) < 800
    assert "\n" not in sentence
    assert "weights_only" not in sentence
    return sentence


FIRST = (case for case in CASES if case.endswith("=0"))


@pytest.mark.parametrize("case", mostly_slow(CASES, quick=[*FIRST, *NESTS]))
def test_declared_values_have_bounds(case: str, tmp_path: Path) -> None:
    path = declared(case)(tmp_path)
    key = case.partition("=")[0].rpartition(".")[2]
    sentence = refused(path, load_checkpoint)
    named = (key, "unfolds", "its network", "provenance")
    assert any(word in sentence for word in named)
    refused(path, read_checkpoint)  # what --resume reads


@pytest.mark.parametrize("case", OTHERS)
def test_files_that_claim_more_than_they_are(case: str, tmp_path: Path) -> None:
    refused(OTHERS[case](tmp_path), load_checkpoint)


@pytest.mark.parametrize("case", ["options.width=0", "options.width=1", "preprocessing.std=0"])
def test_a_start_for_another_network_is_checked_too(case: str, tmp_path: Path) -> None:
    path = declared(case)(tmp_path)
    refused(path, lambda file: create_model("tiny_i3d", pretrained=str(file)))


@pytest.mark.parametrize("name", [*list_models("tiny_*"), "s3d", "x3d_m"])
def test_what_is_measured_before_it_is_made_is_the_network(name: str, tmp_path: Path) -> None:
    """A file is held against the shapes that its words declare; honest ones pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = create_model(name, num_classes=5)
        save_checkpoint(LoadedModel(made, None, made.preprocessing), tmp_path / "a.safetensors")
        state = load_checkpoint(tmp_path / "a.safetensors").model.state_dict()
    assert state.keys() == made.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in made.state_dict().items())


def test_shared_tensors_of_honest_files_are_read(tmp_path: Path) -> None:
    def tie(content: dict[str, Any]) -> None:
        state = content["state_dict"]
        content["current_model_state"] = {key: state[key] for key in state}
        content["averaging_state"] = {"n_averaged": torch.tensor(3)}

    assert load_checkpoint(write_ckpt(tmp_path / "tied.ckpt", tie)).provenance["averaged"]
