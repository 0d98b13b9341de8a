"""Frozen batch norm stays frozen, whatever Lightning calls."""

import torch

from videonl.layers import NonLocalBlock
from videonl.training import VideoClassifier, batch_norms


def classifier(mode: str) -> VideoClassifier:
    return VideoClassifier(
        "tiny_i3d_nl1", num_classes=2, options={"width": 8}, recipe={"batch_norm": mode}
    )


def test_frozen_norms_survive_train() -> None:
    model = classifier("frozen")
    model.train()
    norms = batch_norms(model.net)
    assert norms
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)
    before = [norm.running_mean.clone() for norm in norms]
    model(torch.randn(2, 3, 4, 32, 32) + 3)
    assert all(torch.equal(old, norm.running_mean) for old, norm in zip(before, norms, strict=True))
    assert model.net.training


def test_frozen_norms_stay_frozen_where_lightning_puts_others_in_their_place() -> None:
    model = classifier("frozen")
    model.net = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model.net)
    model.train()
    norms = [m for m in model.net.modules() if isinstance(m, torch.nn.SyncBatchNorm)]
    assert norms
    assert not any(norm.training for norm in norms)


def test_norms_train_by_default() -> None:
    model = classifier("train").train()
    norms = batch_norms(model.net)
    assert all(norm.training and norm.weight.requires_grad for norm in norms)
    before = norms[0].running_mean.clone()
    model(torch.randn(2, 3, 4, 32, 32) + 3)
    assert not torch.equal(before, norms[0].running_mean)


def test_norms_of_fresh_blocks_stay_trainable() -> None:
    net = classifier("train").net
    fresh = {
        f"{name}.{leaf}"
        for name, module in net.named_modules()
        if isinstance(module, NonLocalBlock)
        for leaf, _ in module.named_parameters()
    }
    kept = batch_norms(net, exclude=fresh)
    blocks = [module for module in net.modules() if isinstance(module, NonLocalBlock)]
    assert blocks
    assert not any(block.norm is norm for block in blocks for norm in kept)
    assert len(kept) == len(batch_norms(net)) - len(blocks)
