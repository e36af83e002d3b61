"""Batch norm folded into convolutions: what is folded, what stays, and that outputs agree."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.fakes import make_backbone
from tta.backbones import create_backbone, folding, wrap_model
from tta.backbones.folding import folded
from tta.methods import METHODS
from tta.methods.viewed import ImageByImage
from tta.ops.norm.batch_norm import batch_norm_layers

NETS = {
    "test_resnet": 0,  # layers that are left
    "test_efficientnet": 0,  # fused activations, depthwise convolutions
    "cifar_resnet20": 0,
    "resnext26ts": 0,  # grouped
    "mobilenetv3_small_050": 0,
    "resnetv2_18": 9,  # before the activation: what normalises a sum stays
    "test_vit": 0,
}


def trained(backbone, seed=0):
    """Give batch-norm layers statistics and weights as if they had been trained."""
    generator = torch.Generator().manual_seed(seed)
    for _, layer in batch_norm_layers(backbone):
        layer.running_mean.normal_(0, 0.3, generator=generator)
        layer.running_var.uniform_(0.3, 2, generator=generator)
        for values in filter(lambda values: values is not None, (layer.weight, layer.bias)):
            values.data.uniform_(0.5, 1.5, generator=generator)
    return backbone


def left(backbone):
    return len(list(batch_norm_layers(backbone)))


@torch.no_grad()
def difference(first, second, images):
    expected, found = first(images), second(images)
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", NETS)
def test_outputs_agree_and_what_follows_a_convolution_is_folded(name):
    backbone = trained(create_backbone(name, pretrained=False))
    before = left(backbone)
    copy = folded(backbone)
    assert (left(backbone), left(copy)) == (before, NETS[name])
    images = torch.rand(3, *backbone.input_size, generator=torch.Generator().manual_seed(1))
    assert difference(backbone, copy, images) < 1e-5
    assert copy.passes is backbone.passes


class Awkward(nn.Module):
    """One layer that can be folded among all that look alike and cannot."""

    def __init__(self):
        super().__init__()
        self.plain, self.norm = nn.Conv2d(3, 4, 3, bias=True), nn.BatchNorm2d(4)
        self.read_twice, self.norm_of_one = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.run_twice, self.norm_of_both = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.between, self.norm_behind = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.tied, self.norm_of_tied = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.tied.weight = self.read_twice.weight
        self.own, self.norm_of_own = Halved(4, 4, 1), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = self.norm(self.plain(x))
        y = self.read_twice(x)
        x = self.norm_of_one(y) + y
        x = self.norm_of_both(self.run_twice(self.run_twice(x)))
        x = self.norm_behind(self.between(x).relu())
        x = self.norm_of_own(self.own(self.norm_of_tied(self.tied(x))))
        return self.fc(x.mean((2, 3)))


class Halved(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) / 2


def test_what_only_looks_like_a_convolution_before_batch_norm_stays():
    backbone = trained(wrap_model(Awkward().eval(), input_size=(3, 16, 16)))
    copy = folded(backbone)
    kept = {name.rpartition(".")[2] for name, _ in batch_norm_layers(copy)}
    assert {name for name in vars(Awkward())["_modules"] if "norm" in name} - kept == {"norm"}
    assert difference(backbone, copy, torch.rand(4, 3, 16, 16)) < 1e-5


def test_where_it_would_move_features_by_more_nothing_is_folded(monkeypatch):
    backbone = trained(make_backbone("batch_norm"))
    monkeypatch.setattr(folding, "TOLERANCE", 0.0)
    assert left(folded(backbone)) == left(backbone)


def test_fewer_digits_than_float32_fold_nothing():
    backbone = make_backbone("batch_norm")
    backbone.precision = torch.bfloat16
    assert left(folded(backbone)) == left(backbone)


def test_methods_that_keep_the_network_are_these():
    kinds = {name: METHODS[name] for name in METHODS}
    kept = {name for name, kind in kinds.items() if kind.keeps_network(kind.Params())}
    one_by_one = {name for name, kind in kinds.items() if issubclass(kind, ImageByImage)}
    others = {"source", "lame", "neo", "t3a", "drm", "stata"}
    assert kept == {*others, "adaptive_smoothing", "crop_selection"} | one_by_one
    drm = METHODS["drm"]
    assert not drm.keeps_network(drm.Params(adapt="all"))
