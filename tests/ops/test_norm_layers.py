"""Which layers normalise, and which of their parameters are affine."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.layers import LayerScale, SplitBatchNorm2d
from timm.layers.create_norm import _NORM_MAP
from timm.layers.create_norm_act import _NORM_ACT_MAP
from timm.layers.grn import GlobalResponseNorm
from timm.layers.norm_act import FrozenBatchNormAct2d, SyncBatchNormAct
from torch import nn

from tests.fakes import make_backbone, make_images, make_source
from tta.backbones import create_backbone
from tta.foundation.errors import UserError
from tta.methods import find_method
from tta.methods.requirements import check_needs
from tta.ops.norm.batch_norm import batch_norm_layers, replace_batch_norm
from tta.ops.parameters import is_norm_layer, norm_affine_parameters, norm_kinds

LAYERS = {**_NORM_MAP, **{f"{name}_act": kind for name, kind in _NORM_ACT_MAP.items()}}
EXTRA = {
    "split": lambda: SplitBatchNorm2d(32, num_splits=2),
    "frozen": lambda: FrozenBatchNormAct2d(32),
    "sync": lambda: SyncBatchNormAct(32),
    "rms of torch": lambda: nn.RMSNorm(32),
    "instance": lambda: nn.InstanceNorm2d(32, affine=True),
}


@pytest.mark.parametrize("name", [*LAYERS, *EXTRA])
def test_every_norm_layer_of_timm_is_known(name):
    layer = EXTRA[name]() if name in EXTRA else LAYERS[name](32)
    assert is_norm_layer(layer)
    assert norm_kinds(nn.Sequential(layer, layer))[0] == type(layer).__name__
    own = {key: value for key, value in layer.named_parameters(recurse=False)}
    wanted = [own[key] for key in ("weight", "bias") if own.get(key) is not None]
    found = norm_affine_parameters(layer)
    assert {id(value) for value in found} >= {id(value) for value in wanted}
    assert all("v" not in key.split(".") and "tau" not in key for key in _names(layer, found))


def _names(layer, found):
    return [key for key, value in layer.named_parameters() if any(value is one for one in found)]


@pytest.mark.parametrize("layer", [LayerScale(8), GlobalResponseNorm(8), nn.Linear(8, 8)])
def test_other_layers_are_none(layer):
    assert not is_norm_layer(layer)
    assert norm_affine_parameters(layer) == []


BATCH = {"BatchNorm2d", "BatchNorm1d", "BatchNormAct2d", "SplitBatchNorm2d", "SyncBatchNormAct"}


@pytest.mark.parametrize("name", [*LAYERS, *EXTRA])
def test_layers_with_batch_statistics_are_the_batch_norms(name):
    layer = nn.Sequential(EXTRA[name]() if name in EXTRA else LAYERS[name](32))
    assert bool(list(batch_norm_layers(layer))) is (type(layer[0]).__name__ in BATCH)


def test_a_replaced_split_batch_norm_normalises_the_whole_batch():
    net = nn.Sequential(SplitBatchNorm2d(3, num_splits=2))
    images = torch.rand(4, 3, 5, 5)
    expected = torch.batch_norm(images, None, None, None, None, True, 0.0, 1e-5, False)
    replace_batch_norm(net)
    torch.testing.assert_close(net(images), expected)


@pytest.mark.parametrize(
    ("name", "kind", "parts"),
    [
        ("test_efficientnet_evos", "EvoNorm2dS0", ("weight", "bias")),
        ("resnetv2_50d_frn", "FilterResponseNormTlu2d", ("weight", "bias")),
        ("vit_dwee_patch16_reg1_gap_256", "RmsNorm", ("weight",)),
    ],
)
def test_whole_networks_of_these_families(name, kind, parts):
    if not timm.is_model(name):
        pytest.skip(f"timm {timm.__version__} has no {name}")
    model = timm.create_model(name)
    assert kind in norm_kinds(model)
    layers = [module for module in model.modules() if type(module).__name__ == kind]
    wanted = {id(getattr(layer, part)) for layer in layers for part in parts}
    assert wanted <= {id(value) for value in norm_affine_parameters(model)}


def test_tent_moves_what_it_was_said_not_to_find():
    backbone = create_backbone("test_efficientnet_evos", pretrained=False, num_classes=4)
    tent = find_method("tent")
    params = tent.Params(lr=0.1)
    check_needs(tent, params, backbone, has_source=False)
    method = tent(backbone.clone(), params, seed=0)
    method.start(None)
    before = backbone.model.state_dict()
    method.step(torch.rand(4, *backbone.input_size))
    after = method.backbone.model.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    layers = {n for n, m in backbone.model.named_modules() if type(m).__name__ == "EvoNorm2dS0"}
    assert moved
    assert {key.rpartition(".")[0] for key in moved} <= layers
    assert {key.rpartition(".")[2] for key in moved} == {"weight", "bias"}


def test_what_cannot_be_replaced_is_named():
    backbone = create_backbone("test_efficientnet_evos", pretrained=False, num_classes=4)
    method = find_method("bn")
    message = r"none that it can replace \(its normalisation layers are EvoNorm2dS0\)"
    with pytest.raises(UserError, match=message):
        check_needs(method, method.Params(), backbone, has_source=False)


@pytest.mark.parametrize("name", ["source", "bn", "bn_alpha", "tent", "rmt"])
def test_a_synchronised_layer_is_as_any_other(name):
    outputs = []
    for convert in (nn.Identity(), nn.SyncBatchNorm.convert_sync_batchnorm):
        backbone = make_backbone("batch_norm")
        backbone.model = convert(backbone.model)
        layers = {type(layer) for _, layer in batch_norm_layers(backbone)}
        assert (layers == {nn.SyncBatchNorm}) is not isinstance(convert, nn.Identity)
        kind = find_method(name)
        few = {"warm_up_samples": 12} if name == "rmt" else {}
        method = kind(backbone, kind.Params(**few))
        method.start(make_source())
        outputs.append(torch.cat([method.step(make_images(4, seed)) for seed in range(3)]))
    assert torch.equal(*outputs)
