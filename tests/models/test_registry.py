"""Names, options and what is said when they are wrong."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from videonl.errors import VideoNLError
from videonl.models import create_model, list_models, model_options, register_model


def test_list_models_filters_and_sorts():
    assert list_models("i3d_r50_nl*") == ["i3d_r50_nl1", "i3d_r50_nl10", "i3d_r50_nl5"]
    assert list_models() == sorted(list_models())
    assert list_models("nothing*") == []
    papers = {f"{kind}_r{depth}" for kind in ("c2d", "i3d") for depth in (50, 101)}
    papers |= {"i3d_r50_333", "i3d_r101_333"}
    papers |= {f"{name}_nl{count}" for name in papers for count in (1, 5, 10)}
    baselines = {"slow_r50", "r2plus1d_r50", "csn_r101", "x3d_m"}
    baselines |= {"r3d_18", "mc3_18", "r2plus1d_18", "s3d"}
    assert papers | baselines <= set(list_models())


def test_unknown_name_suggests_near_ones():
    with pytest.raises(VideoNLError, match=r"'i3d_r5'; did you mean .*i3d_r50"):
        create_model("i3d_r5")
    with pytest.raises(VideoNLError, match="videonl models lists them"):
        create_model("qqqq")


def test_unknown_option_suggests_and_lists():
    with pytest.raises(
        VideoNLError, match=r"no option 'non_locl'; did you mean non_local\?.*depth"
    ):
        create_model("i3d_r50", non_locl={})
    with pytest.raises(VideoNLError, match="its options are dropout"):
        create_model("r3d_18", width=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "oficial"}, "preset is 'oficial'; it must be one of pytorchvideo"),
        ({"inflation": "5x1x1"}, "inflation is '5x1x1'; it must be one of none, 3x1x1"),
        ({"inflation": {"stem": "3x1x1"}}, "inflation names 'stem'; the stages are res2"),
        ({"inflation": {"res3": ["none"]}}, "inflation of res3: 1 block given"),
        ({"non_local": {"res4": (6,)}}, "residual block 6 of res4, which has 6 blocks"),
        ({"non_local": {"layer3": (1,)}}, "non_local names 'layer3'; the stages are"),
        ({"non_local": {"res4": (1,)}, "non_local_options": {"afinity": 1}}, "no 'afinity'"),
        ({"depth": 18}, "depth is 18; it must be one of 50, 101, 152"),
        ({"layers": [1, 0]}, "it must be one to four counts"),
        ({"norm": "layer"}, "norm is 'layer'; it must be one of batch, frozen, affine"),
        ({"stem_stride": 2}, "stem_stride is 2; it must be three integers"),
        ({"head_pool": "max"}, "head_pool is 'max'"),
        ({"head_average": "max"}, "head_average is 'max'"),
        ({"preprocessing": {"fsp": 3}}, "preprocessing has no entry 'fsp'"),
        ({"strides": [1]}, "it must have one per stage"),
    ],
)
def test_wrong_values_are_one_sentence(options, message):
    with torch.device("meta"), pytest.raises(VideoNLError, match=message) as caught:
        create_model("i3d_r50", **options)
    assert "\n" not in str(caught.value)


def test_import_path(tmp_path, monkeypatch):
    (tmp_path / "elsewhere.py").write_text(
        "from torch import nn\n"
        "from videonl.models import ResNet3D\n"
        "def mynet_18(num_classes=400, *, width=4):\n"
        "    return ResNet3D(num_classes, layers=(1,), width=width)\n"
        "def bare(num_classes=400):\n"
        "    return nn.Linear(3, num_classes)\n"
    )
    monkeypatch.chdir(tmp_path)
    paths = list(sys.path)
    monkeypatch.delitem(sys.modules, "elsewhere", raising=False)
    model = create_model("elsewhere:mynet_18", num_classes=3, width=2)
    assert model(torch.zeros(1, 3, 2, 16, 16)).shape == (1, 3)
    assert model.config["name"] == "elsewhere:mynet_18"
    with pytest.raises(VideoNLError, match=r"no option .depth.; .*its options are width"):
        create_model("elsewhere:mynet_18", depth=3)
    with pytest.raises(VideoNLError, match="has no forward_features"):
        create_model("elsewhere:bare")
    with pytest.raises(VideoNLError, match="has no function 'other'"):
        create_model("elsewhere:other")
    with pytest.raises(VideoNLError, match="'nowhere_at_all' cannot be imported"):
        create_model("nowhere_at_all:net")
    assert sys.path == paths


def test_register_model(monkeypatch):
    known = sys.modules[create_model.__module__]._REGISTER
    monkeypatch.setattr("videonl.models.registry._REGISTER", dict(known))

    def mynet_test(num_classes: int = 400, **anything: int) -> nn.Module:
        return create_model("tiny_c2d", num_classes=num_classes)

    assert register_model(mynet_test) is mynet_test
    assert create_model("mynet_test", num_classes=3).config["name"] == "mynet_test"
    assert list_models("mynet*") == ["mynet_test"]
    assert model_options("mynet_test") is None
    with pytest.raises(ValueError, match="registered already"):
        register_model(mynet_test)


def test_an_affinity_class_is_named_in_the_config():
    from videonl.layers import DotProduct

    model = create_model("tiny_c2d_nl1", non_local_options={"affinity": DotProduct})
    assert model.config["options"]["non_local_options"]["affinity"].endswith(":DotProduct")


def test_the_memory_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    files = (str(tmp_path / "absent"), str(tmp_path / "memory.max"))
    monkeypatch.setattr("videonl.limits.MEMORY_LIMITS", files)
    with pytest.raises(VideoNLError, match="with width 1025 takes"):
        create_model("tiny_c2d", width=1025)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"width": 20_000}, r"with width 20000 takes \d+ GB, but this machine has \d+ GB"),
        ({"num_classes": 10**9}, r"with num_classes 1000000000 takes \d+ GB, but this machine has"),
        ({"layers": [10**6, 4, 6, 3]}, r"layers=\[1000000, 4, 6, 3\]: it must be a list"),
        ({"strides": [0, 0, 0, 0]}, r"strides=\[0, 0, 0, 0\]: it must be a list"),
    ],
)
def test_what_no_machine_holds_is_refused_before_it_is_made(
    options: dict[str, Any], sentence: str
) -> None:
    start = time.process_time()
    with pytest.raises(VideoNLError, match=sentence):
        create_model("i3d_r50", **options)
    assert time.process_time() - start < 1
