"""The supported published weights, one row per file.

The columns are: name, our network, frames × stride, top-1, top-5, parameters in millions, file.
Accuracies in percent are the publishers' own, on the validation set of Kinetics-400 (ImageNet
where the clip is "image"), ``-`` where they state none. Where a publisher states two figures for
one file (MMAction2's SlowOnly-NL) the lower one stands here.
"""

from dataclasses import dataclass, field
from typing import Any

FAIR = "https://dl.fbaipublicfiles.com"


@dataclass(frozen=True)
class Group:
    """Files of one publisher.

    Attributes:
        prefix: of the names.
        family: of the reader, by its name in the report.
        stem: of the URLs; ``{folder}`` is the row's file without date and digest.
        suffix: of the files.
        licence: of the weights.
        rows: the table.
        protocol: clips × crops per video behind the accuracies.
        stored: numbers in a file per parameter, 2 where the momentum is stored too.
        digest: whether the file names end with the start of their SHA-256.
        graphs: name -> options that such a file does not contain itself.
    """

    prefix: str
    family: str
    stem: str
    suffix: str
    licence: str
    rows: str
    protocol: str = "10x3"
    stored: int = 1
    digest: bool = False
    graphs: dict[str, dict[str, Any]] = field(default_factory=dict)


HUB = """
c2d_r50           c2d_r50       8x8   71.46  89.68  24.33  C2D_8x8_R50
i3d_r50           i3d_r50       8x8   73.27  90.70  28.04  I3D_8x8_R50
slow_r50          slowonly_r50  8x8   74.58  91.63  32.45  SLOW_8x8_R50
slow_r50_4x16     slowonly_r50  4x16  72.40  90.18  32.45  SLOW_4x16_R50
"""

HUB_BASELINES = """
r2plus1d_r50      r2plus1d_r50  16x4  76.01  -      28.11  R2PLUS1D_16x4_R50
csn_r101          csn_r101      32x2  77.00  -      22.21  CSN_32x2_R101
x3d_m             x3d_m         16x5  75.94  -      3.79   X3D_M
"""

PYSLOWFAST = """
c2d_nopool_r50    c2d_r50       8x8   67.2   87.8   24.33  C2D_NOPOOL_8x8_R50
i3d_r50           i3d_r50       8x8   73.5   90.8   28.04  I3D_8x8_R50
i3d_nln_r50       i3d_r50_nl5   8x8   74.0   91.1   35.40  I3D_NLN_8x8_R50
slow_r50_4x16     slowonly_r50  4x16  72.7   90.3   32.45  SLOWONLY_4x16_R50
slow_r50          slowonly_r50  8x8   74.8   91.6   32.45  SLOWONLY_8x8_R50
"""

PYSLOWFAST_IMAGE = """
imagenet_r50      c2d_r50       image 76.4   93.2   25.56  R50_IN1K
"""

OFFICIAL = """
c2d_32x2          c2d_r50       32x2  72.0   90.0   24.33  c2d_baseline_32x2_IN_pretrain_400k
c2d_nl_32x2       c2d_r50_nl5   32x2  73.9   91.0   31.69  c2d_nonlocal_32x2_IN_pretrain_400k
i3d_32x2          i3d_r50       32x2  73.6   90.8   28.04  i3d_baseline_32x2_IN_pretrain_400k
i3d_nl_32x2       i3d_r50_nl5   32x2  74.9   91.6   35.40  i3d_nonlocal_32x2_IN_pretrain_400k
i3d_128x1         i3d_r50       128x1 75.2   92.0   28.04  i3d_baseline_128x1_I3D_pretrain_400k
i3d_nl_128x1      i3d_r50_nl5   128x1 76.5   92.7   35.40  i3d_nonlocal_128x1_I3D_pretrain_400k
c2d_8x8           c2d_r50       8x8   71.9   90.0   24.33  c2d_baseline_8x8_IN_pretrain_400k
c2d_nl_8x8        c2d_r50_nl5   8x8   74.4   91.4   31.69  c2d_nonlocal_8x8_IN_pretrain_400k
i3d_8x8           i3d_r50       8x8   73.4   90.9   28.04  i3d_baseline_8x8_IN_pretrain_400k
i3d_nl_8x8        i3d_r50_nl5   8x8   74.7   91.6   35.40  i3d_nonlocal_8x8_IN_pretrain_400k
i3d_32x4          i3d_r50       32x4  75.5   92.0   28.04  i3d_baseline_32x4_I3D_pretrain_400k
i3d_nl_32x4       i3d_r50_nl5   32x4  76.5   92.6   35.40  i3d_nonlocal_32x4_I3D_pretrain_400k
i3d_8x8_300k      i3d_r50       8x8   73.2   90.8   28.04  i3d_baseline_8x8_IN_pretrain_300k
i3d_8x8_600k_4gpu i3d_r50       8x8   73.0   90.4   28.04  i3d_baseline_8x8_IN_pretrain_600k_4gpu
i3d_8x8_300k_4gpu i3d_r50       8x8   72.0   90.1   28.04  i3d_baseline_8x8_IN_pretrain_300k_4gpu
"""

# {i3d} and the like are written out below.
MMACTION2 = """
i3d_nl_dot        i3d_r50_nl5   32x2  74.80  92.07  35.4   {i3d}-nl-dot-product{rgb}-8e1f2148
i3d_nl_embedded   i3d_r50_nl5   32x2  74.73  91.80  35.4   {i3d}-nl-embedded-gaussian{rgb}-afd8f562
i3d_nl_gaussian   i3d_r50_nl5   32x2  73.97  91.33  31.7   {i3d}-nl-gaussian{rgb}-0c5cbf5a
i3d               i3d_r50       32x2  73.47  91.27  28.0   {i3d}{rgb}-e213c223
i3d_dense         i3d_r50       32x2  73.77  91.35  28.0   {i3d}{dense}-9f46003f
i3d_heavy         i3d_r50       32x2  76.21  92.48  33.0   {i3d}-heavy{rgb}-ed501b31
c2d               c2d_r50       8x8   73.89  91.21  24.3   {c2d}-8x8x1{c2d_end}-3ca304fa
c2d_16x4          c2d_r50       16x4  74.97  91.91  24.3   {c2d}-16x4x1{c2d_end}-5f382a43
c2d_nopool        c2d_r50       8x8   73.44  91.00  24.3   c2d_r50{nopool}-e0227b22
c2d_nopool_r101   c2d_r101      8x8   74.97  91.77  43.3   c2d_r101{nopool}-557bd8bc
slowonly_nl_4x16  slowonly_r50_nl5 4x16 74.84 91.41 39.81  {slow}-4x16x1{nl}-cf739c75
slowonly_nl       slowonly_r50_nl5 8x8 76.35 92.18  39.81  {slow}-8x8x1{nl}-df42dc84
"""
_C2D = "-100e_kinetics400-rgb_20221027"
MMACTION2_WORDS = {
    "i3d": "i3d_imagenet-pretrained-r50",
    "rgb": "_8xb8-32x2x1-100e_kinetics400-rgb_20220812",
    "dense": "_8xb8-dense-32x2x1-100e_kinetics400-rgb_20220812",
    "c2d": "c2d_r50-in1k-pre_8xb32",
    "c2d_end": _C2D,
    "nopool": f"-in1k-pre-nopool_8xb32-8x8x1{_C2D}",
    "slow": "slowonly_r50-in1k-pre-nl-embedded-gaussian_8xb16",
    "nl": "-steplr-150e_kinetics400-rgb_20220901",
}

GLUONCV = """
i3d_r50           i3d_r50       32x2  74.87  -      28.04  i3d_resnet50_v1_kinetics400-18545497
i3d_r101          i3d_r101      32x2  75.1   -      51.75  i3d_resnet101_v1_kinetics400-a9bb4f89
i3d_nl5_r50       i3d_r50_nl5   32x2  75.17  -      35.40  i3d_nl5_resnet50_v1_kinetics400-9df1e103
i3d_nl10_r50      i3d_r50_nl10  32x2  75.93  -      42.76  i3d_nl10_resnet50_v1_kinetics400-281e1e8a
i3d_nl5_r101      i3d_r101_nl5  32x2  75.81  -      59.11  i3d_nl5_resnet101_v1_kinetics400-2cea8edd
i3d_nl10_r101     i3d_r101_nl10 32x2  75.93  -     66.47  i3d_nl10_resnet101_v1_kinetics400-526a2ed0
"""

TORCHVISION_IMAGE = """
resnet50_v1       c2d_r50       image 76.13  92.862 25.56  resnet50-0676ba61
resnet50_v2       c2d_r50       image 80.858 95.434 25.56  resnet50-11ad3fa6
resnet101_v1      c2d_r101      image 77.374 93.546 44.55  resnet101-63fe2227
resnet101_v2      c2d_r101      image 81.886 95.78  44.55  resnet101-cd907fc2
"""

TORCHVISION_VIDEO = """
r3d_18            r3d_18        16x2  63.2   83.479 33.37  r3d_18-b3b3357e
mc3_18            mc3_18        16x2  63.96  84.13  11.70  mc3_18-a90a0ba3
r2plus1d_18       r2plus1d_18   16x2  67.463 86.175 31.51  r2plus1d_18-91a641e6
s3d               s3d           16x2  68.368 88.05  8.32   s3d-d76dad2f
"""

_FLAT = {"pool2_kernel": (1, 1, 1)}
_GRAPH = {"preset": "pyslowfast"}
_TSN = {"pool1_padding": (0, 1, 1), **_FLAT}
_EMBEDDED = {"non_local_options": {"affinity": "embedded_gaussian"}}
_DOT = {"non_local_options": {"affinity": "dot_product"}}
_APACHE = "Apache-2.0"
_SOURCE = f"{FAIR}/pytorchvideo"

GROUPS = (
    Group(
        "official",
        "Caffe2",
        f"{FAIR}/video-nonlocal/",
        ".pkl",
        "CC BY-NC 4.0",
        OFFICIAL,
        stored=2,
        graphs={
            row.split()[0]: {"preset": f"official_{row.split()[2]}"}
            for row in OFFICIAL.strip().splitlines()
        },
    ),
    Group(
        "pytorchvideo",
        "PyTorchVideo",
        f"{_SOURCE}/model_zoo/kinetics/",
        ".pyth",
        _APACHE,
        HUB.rstrip() + HUB_BASELINES,
    ),
    Group(
        "pytorchvideo_pysf",
        "PyTorchVideo",
        f"{_SOURCE}/pysf_model_zoo/kinetics/",
        ".pyth",
        _APACHE,
        HUB,
    ),
    Group(
        "pyslowfast",
        "Caffe2",
        f"{FAIR}/pyslowfast/model_zoo/kinetics400/",
        ".pkl",
        _APACHE,
        PYSLOWFAST,
        graphs={
            "c2d_nopool_r50": {**_GRAPH, **_FLAT},
            "i3d_r50": _GRAPH,
            "i3d_nln_r50": _GRAPH,
        },
    ),
    Group(
        "pyslowfast",
        "PySlowFast",
        f"{FAIR}/pyslowfast/model_zoo/kinetics400/",
        ".pyth",
        _APACHE,
        PYSLOWFAST_IMAGE,
        protocol="image",
    ),
    Group(
        "mmaction2",
        "MMAction2",
        "https://download.openmmlab.com/mmaction/v1.0/recognition/{folder}/",
        ".pth",
        _APACHE,
        MMACTION2,
        digest=True,
        graphs={
            "i3d_nl_dot": _DOT,
            "i3d_nl_embedded": _EMBEDDED,
            "slowonly_nl": _EMBEDDED,
            "slowonly_nl_4x16": _EMBEDDED,
            "c2d_nopool": _TSN,
            "c2d_nopool_r101": _TSN,
        },
    ),
    Group(  # the digits in GluonCV's file names are the start of a SHA-1
        "gluoncv",
        "GluonCV",
        "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/torch/models/",
        ".pth",
        _APACHE,
        GLUONCV,
    ),
    Group(
        "torchvision",
        "torchvision ResNet (images)",
        "https://download.pytorch.org/models/",
        ".pth",
        "BSD-3-Clause",
        TORCHVISION_IMAGE,
        protocol="image",
        digest=True,
    ),
    Group(
        "torchvision",
        "torchvision (video)",
        "https://download.pytorch.org/models/",
        ".pth",
        "BSD-3-Clause",
        TORCHVISION_VIDEO,
        protocol="5x1",
        digest=True,
    ),
)
