"""Every option of a training does what it says."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from tests.small_data import DATA, FLAGS
from tests.training.conftest import QUIET, make_parts
from videonl.cli.main import main
from videonl.data import VideoDataModule
from videonl.errors import VideoNLError
from videonl.training import Recipe, VideoClassifier, fit, make_optimizer, make_trainer

Train = Callable[..., tuple[VideoClassifier, Any]]
STEADY = {"batch_norm": "frozen", "optimizer": "sgd", "weight_decay": 0.0, "warmup": 0.0}


def weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((value - other[key]).abs().max()) for key, value in one.items())


@pytest.mark.slow  # test_accumulation has it against steps by hand
def test_accumulating_two_batches_is_one_of_twice_the_size(train: Train) -> None:
    # With one sampler and no batch statistics; dropout draws per batch, so it is off.
    def run(folder: str, **options: Any) -> dict[str, torch.Tensor]:
        recipe, off = {**STEADY, "reference_batch": 4}, {"dropout": 0.0}
        classifier, _ = train(folder=folder, epochs=1, recipe=recipe, network=off, **options)
        return {key: value.clone() for key, value in classifier.state_dict().items()}

    twice = run("twice", trainer={"accumulate_grad_batches": 2})
    large = run("large", data={"batch_size": 4})
    assert largest_difference(twice, large) < 1e-5


def test_clipping_bounds_the_step(train: Train, small_data: Path) -> None:
    before = {k: v.clone() for k, v in make_parts(small_data)[0].state_dict().items()}
    recipe = {**STEADY, "learning_rate": 1.0, "reference_batch": 0, "momentum": 0.0}
    options = {"gradient_clip_val": 1e-6, "max_steps": 2}
    classifier, _ = train(epochs=1, recipe=recipe, trainer=options)
    after = classifier.state_dict()
    moved = sum(float((after[k] - v).square().sum()) for k, v in before.items()) ** 0.5
    assert 0 < moved <= 2.1e-6


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Options of compiling, and how many clips each graph takes; the backend only counts."""
    torch._dynamo.reset()
    found: list[Any] = []

    def backend(graph: Any, inputs: list[Any]) -> Any:
        clips = (x for x in inputs if isinstance(x, torch.Tensor) and x.dim() == 5)
        found.extend(len(x) for x in clips if x.shape[1] == 3 and x.shape[-1] > 7)
        return graph.forward

    def compile_eagerly(self: nn.Module, **options: Any) -> None:
        found.append(options)
        self._compiled_call_impl = torch.compile(self._call_impl, backend=backend, **options)

    monkeypatch.setattr(nn.Module, "compile", compile_eagerly)
    return found


@pytest.mark.slow
def test_training_and_validation_compile_one_whole_graph_each(
    train: Train, compiled: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _, plain = train(epochs=2)
    _, fitted = train(epochs=2, model={"compile": True, "views_per_forward": 3})
    options, *graphs = compiled
    assert options == {"fullgraph": True, "dynamic": False}
    assert len(graphs) == 2, graphs
    said = capsys.readouterr().out
    assert re.search(r"compiled the network for training in \d+ s", said)
    assert said.count("compiled the network for validation in") == 1
    found, expected = weights(fitted.last), weights(plain.last)
    assert list(found) == list(expected)
    assert not any("_orig_mod" in key for key in found)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-4)
    assert not torch._dynamo.callback.callback_handler.start_callbacks


def test_a_small_network_compiles_one_whole_graph_each(
    small_data: Path, tmp_path: Path, compiled: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    net = nn.Sequential(nn.Conv3d(3, 4, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2))
    data = VideoDataModule(str(small_data), **DATA)
    data.setup("fit")
    model = VideoClassifier(network=net, num_classes=2, compile=True)
    fit(model, data, run_dir=tmp_path / "run", trainer_options={**QUIET, "max_epochs": 2})
    options, *graphs = compiled
    assert options == {"fullgraph": True, "dynamic": False}
    assert len(graphs) == 2, graphs
    said = capsys.readouterr().out
    for stage in ("training", "validation"):
        assert said.count(f"compiled the network for {stage} in") == 1


@pytest.mark.slow
def test_balanced_and_recomputing_training_runs_through_a_compiled_network(
    train: Train, compiled: list[Any]
) -> None:
    recipe, balanced = {"checkpoint_stages": ["res2"]}, {"balanced": True}
    short = {"max_steps": 1, "limit_val_batches": 0}
    train(epochs=1, recipe=recipe, data=balanced, trainer=short, model={"compile": True})
    assert compiled[0] == {"fullgraph": False, "dynamic": False}


def test_a_network_that_can_not_be_compiled_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def compile_badly(self: nn.Module, **options: Any) -> None:
        def backend(graph: Any, inputs: Any) -> Any:
            raise RuntimeError("no such kernel")

        self._compiled_call_impl = torch.compile(self._call_impl, backend=backend, **options)

    monkeypatch.setattr(nn.Module, "compile", compile_badly)
    classifier = VideoClassifier("tiny_i3d", num_classes=2, compile=True)
    classifier.setup("fit")
    with pytest.raises(VideoNLError, match=r"cannot be compiled \(.*no such kernel"):
        classifier(torch.zeros(1, 3, 4, 16, 16))
    classifier.teardown("fit")


def test_compiling_without_a_compiler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    torch._inductor.cpp_builder.cpp_compiler_search.cache_clear()
    with pytest.raises(VideoNLError, match=r"needs a C\+\+ compiler, and this machine has none"):
        VideoClassifier("tiny_i3d", num_classes=2, compile=True)
    torch._inductor.cpp_builder.cpp_compiler_search.cache_clear()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Lightning's Trainer is asked for, without making one."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(Trainer, "__init__", lambda _, **options: found.append(options))
    return found


def test_precision_is_half_on_a_gpu_that_knows_it_and_nowhere_else(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for knows in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda knows=knows: knows)
        make_trainer({"accelerator": "gpu"})
        make_trainer({"accelerator": "cpu"})
        make_trainer({"accelerator": "gpu"}, training=False)
        make_trainer({"accelerator": "gpu", "precision": "16-mixed"})
    found = [options["precision"] for options in asked]
    assert found[:4] == ["bf16-mixed", "32-true", "32-true", "16-mixed"]
    assert found[4:] == ["32-true", "32-true", "32-true", "16-mixed"]


@pytest.mark.parametrize(
    ("tiles", "capability", "most", "chosen"),
    [
        (True, "AVX512", None, "bf16-mixed"),
        (True, "AVX512", "AVX512_CORE_AMX", "bf16-mixed"),
        (True, "AVX512", "AVX512_CORE", "32-true"),  # oneDNN may not use the tiles
        (True, "AVX2", None, "32-true"),  # ATEN_CPU_CAPABILITY=avx2
        (False, "AVX512", None, "32-true"),
        (False, "DEFAULT", None, "32-true"),
    ],
)
def test_precision_is_half_on_a_cpu_with_amx_alone(
    asked, monkeypatch, tiles, capability, most, chosen
):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")  # tests/conftest.py pins float32
    if most:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", most)
    make_trainer({"accelerator": "cpu"})
    make_trainer({"accelerator": "cpu"}, training=False)
    assert [options["precision"] for options in asked] == [chosen, "32-true"]


def test_synchronised_norms_are_asked_of_lightning_on_gpus(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trainer({"accelerator": "cpu"}, sync_batchnorm=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    gpu = {"accelerator": "gpu", "precision": "32-true"}
    make_trainer(gpu, sync_batchnorm=True)
    make_trainer(gpu, sync_batchnorm=False)
    assert [options["sync_batchnorm"] for options in asked] == [False, True, False]


def test_the_optimiser_is_fused_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bool] = []

    class Optimizer(torch.optim.SGD):
        def __init__(self, groups: Any, *, fused: bool, **values: Any) -> None:
            made.append(fused)
            super().__init__(groups, **values)

    monkeypatch.setattr(torch.optim, "SGD", Optimizer)
    model = VideoClassifier("tiny_i3d", num_classes=2, options={"width": 8})
    for device, scaler in (("cuda", None), ("cpu", None), ("cuda", object())):
        trainer: Any = SimpleNamespace(
            precision_plugin=SimpleNamespace(scaler=scaler),
            strategy=SimpleNamespace(root_device=torch.device(device)),
            datamodule=SimpleNamespace(clips_per_batch=lambda _: 2, training_batches=lambda _: 8),
            world_size=4,
            accumulate_grad_batches=2,
            limit_train_batches=None,
            estimated_stepping_batches=10,
        )
        model.trainer = trainer
        optimizer = model.configure_optimizers()["optimizer"]
        # 2 clips on 4 devices, 2 batches accumulated: 16 of the reference's 64.
        assert optimizer.defaults["lr"] == 1e-3 or optimizer.param_groups[0]["initial_lr"] == (
            0.01 * 16 / 64
        )
    assert made == [True, False, False]


@pytest.mark.parametrize("beta2", [0.999, 0.95])
def test_the_memory_of_adamw_is_what_the_recipe_says(beta2: float) -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(2))], "lr": 0.1}]
    optimizer = make_optimizer("adamw", groups, momentum=0.9, beta2=beta2, fused=False)
    assert optimizer.param_groups[0]["betas"] == (0.9, beta2)
    with pytest.raises(VideoNLError, match="beta2"):
        Recipe(beta2=1.0)


def test_warnings_before_the_start(
    small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(train: str, val: str, *more: str) -> str:
        argv = ["train", "fit", "--data.root", str(small_data), *FLAGS, "--dry-run", *more]
        argv += ["--model.name", "tiny_c2d", "--trainer.accelerator", "cpu"]
        for split, labels in {"train": train, "val": val}.items():
            files = [f"{split}/{name}/{i}.mp4" for i in range(2) for name in ("dark", "light")]
            rows = [f"{file},{names}\n" for file, names in zip(files, labels.split(), strict=False)]
            (tmp_path / f"{split}.csv").write_text("path,labels\n" + "".join(rows))
            argv += [f"--data.{split}_list", str(tmp_path / f"{split}.csv")]
        (tmp_path / "names.txt").write_text("a\nb\nc\n")
        assert main([*argv, "--data.class_names_file", str(tmp_path / "names.txt")]) == 0
        return capsys.readouterr().out

    large = ["--model.options.width", "128", "--recipe.batch_norm", "sync"]
    found = said("a a c a", "a b b", *large)
    assert "4 training videos for 12.3 M parameters from scratch" in found
    assert "1 class without videos in train: b" in found
    assert "1 class without videos in val: c" in found
    assert "sync has no effect on CPUs" in found
    assert "scores 67 %" in found
    found = said("a a;b c a", "a;b b", "--model.options.width", "8")
    assert "parameters from scratch" not in found
    assert "mAP of 75 %" in found
