"""Torchvision's weights under timm's names give torchvision's own outputs."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from tta.backbones import create_backbone
from tta.backbones.torchvision_names import _SAME
from tta.foundation.errors import UserError


def network(name: str, classes: int = 7) -> nn.Module:
    """Return torchvision's network with weights that tell layers apart."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, num_classes=classes).eval()
    for key, value in model.state_dict().items():
        if value.dim() == 1 and value.is_floating_point():
            value.copy_(torch.rand_like(value) * 0.5 + 0.75)
        elif "layer_scale" in key:
            value.copy_(torch.rand_like(value))
    return model


@torch.no_grad()
def difference(backbone, model) -> float:
    images = torch.rand(2, *backbone.input_size, generator=torch.Generator().manual_seed(1))
    return float((backbone(images) - model((images - backbone.mean) / backbone.std)).abs().max())


CASES = [
    ("resnet18", "resnet18", "as it is"),
    ("mobilenetv3_small_100", "mobilenet_v3_small", "eps of 34 normalisation layers"),
    ("mobilenetv2_100", "mobilenet_v2", "torchvision's mobilenet_v2, by timm's names"),
    ("efficientnet_b0", "efficientnet_b0", "torchvision's efficientnet_b0, by timm's names"),
    ("mnasnet_050", "mnasnet0_5", "torchvision's mnasnet0_5, by timm's names"),
    ("regnety_004", "regnet_y_400mf", "names as timm converts them for regnety_004"),
    ("convnext_tiny", "convnext_tiny", "torchvision's convnext_tiny, by timm's names"),
]
SLOW = [
    ("densenet121", "densenet121", "as it is"),
    ("swin_tiny_patch4_window7_224", "swin_t", "torchvision's swin_t, by timm's names"),
    ("vit_base_patch16_224", "vit_b_16", "torchvision's vit_b_16, by timm's names"),
    ("vit_base_patch32_224", "vit_b_32", "torchvision's vit_b_32, by timm's names"),
    ("efficientnetv2_s", "efficientnet_v2_s", "eps of 110 normalisation layers"),
    ("vgg11", "vgg11", "names as timm converts them for vgg11"),
    ("inception_v3", "inception_v3", "left out: AuxLogits"),
]


@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
)
def test_the_outputs_are_torchvisions(tmp_path, ours, theirs, words):
    model = network(theirs)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    backbone = create_backbone(ours, weights=tmp_path / "w.pth", num_classes=7)
    assert difference(backbone, model) < 1e-4
    assert words in backbone.understood["weights"]


def test_the_digest_tells_changed_eps(tmp_path):
    model = network("mobilenet_v3_small")
    torch.save(model.state_dict(), tmp_path / "w.pth")
    theirs = create_backbone("mobilenetv3_small_100", weights=tmp_path / "w.pth", num_classes=7)
    torch.save(theirs.model.state_dict(), tmp_path / "timm.pth")
    ours = create_backbone("mobilenetv3_small_100", weights=tmp_path / "timm.pth", num_classes=7)
    assert (theirs.model.bn1.eps, ours.model.bn1.eps) == (1e-3, 1e-5)
    assert theirs.weights_sha256 != ours.weights_sha256
    assert theirs.clone().weights_sha256 == theirs.weights_sha256


def test_wrapped_and_narrow_weights_too(tmp_path):
    model = network("mobilenet_v3_small")
    state = {f"module.{key}": value.half() for key, value in model.state_dict().items()}
    torch.save({"model": state, "epoch": 3}, tmp_path / "w.pth")
    model.load_state_dict({key: value.half().float() for key, value in model.state_dict().items()})
    backbone = create_backbone("mobilenetv3_small_100", weights=tmp_path / "w.pth", num_classes=7)
    assert difference(backbone, model) < 1e-4


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("tf_mobilenetv3_small_100", "mobilenet_v3_small"),
        ("mobilenetv3_large_100", "mobilenet_v3_small"),
        ("convnext_atto", "mobilenet_v3_small"),
    ],
)
def test_what_timm_has_no_equal_of_is_named_torchvisions(tmp_path, ours, theirs):
    torch.save(network(theirs).state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match="does not fit .* its names are torchvision's"):
        create_backbone(ours, weights=tmp_path / "w.pth", num_classes=7)


def test_a_network_that_gives_other_outputs_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(_SAME, "tf_mobilenetv3_small_100", "mobilenet_v3_small")
    torch.save(network("mobilenet_v3_small").state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match="its names are torchvision's"):
        create_backbone("tf_mobilenetv3_small_100", weights=tmp_path / "w.pth", num_classes=7)


def test_every_pair_is_there_in_both():
    import timm

    assert set(_SAME) <= set(timm.list_models())
    assert set(_SAME.values()) <= set(torchvision.models.list_models(torchvision.models))
