"""The nets of this package: structure, key names, behaviour in timm's registry."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F

from tta.backbones import create_backbone, nets
from tta.backbones.nets.cifar_wide_resnet import PreActBlock

PARAMETERS = {  # of the published networks
    "cifar_resnet20": 269_722,
    "cifar_resnet32": 464_154,
    "cifar_resnet44": 658_586,
    "cifar_resnet56": 853_018,
    "wrn28_10": 36_479_194,
    "resnext29_4x32d": 6_900_132,
    "mobilenetv1_075": 2_585_560,
    "resnet50_bottleneck256": 24_065_596,
}
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR100 = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
FACTS = {  # classes, features, (mean, std)
    **{f"cifar_resnet{depth}": (10, 64, IMAGENET) for depth in (20, 32, 44, 56)},
    **{f"cifar_resnet{depth}_distiller": (100, 256, CIFAR100) for depth in (8, 20, 32)},
    "wrn28_10": (10, 640, ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))),
    "resnext29_4x32d": (100, 1024, HALF),
    "mobilenetv1_075": (1000, 768, HALF),
    "digits_vit": (10, 64, HALF),
    "resnet50_bottleneck256": (126, 256, IMAGENET),
}


@pytest.mark.parametrize("name", FACTS)
def test_facts_of_the_published_network(name):
    backbone = create_backbone(name, pretrained=False)
    classes, features, (mean, std) = FACTS[name]
    assert (backbone.num_classes, backbone.feature_dim) == (classes, features)
    assert backbone.mean.flatten().tolist() == pytest.approx(mean)
    assert backbone.std.flatten().tolist() == pytest.approx(std)
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    assert parameters == PARAMETERS.get(name, parameters)
    for role in ("classifier", "first_conv"):
        assert backbone.model.get_submodule(backbone.model.pretrained_cfg[role]).weight.ndim >= 2


def test_every_net_is_exported_and_in_timms_registry():
    assert set(nets.__all__) == {*FACTS, "digits_segnet"}  # which segments
    assert all(timm.is_model(name) for name in nets.__all__)


def test_timms_keyword_arguments_and_protocol_serve():
    model = timm.create_model("cifar_resnet20", num_classes=3, in_chans=1, drop_rate=0.5)
    images = torch.zeros(2, 1, 32, 32)
    assert model(images).shape == (2, 3)
    assert model.forward_head(model.forward_features(images), pre_logits=True).shape == (2, 64)
    model.reset_classifier(7)
    assert model.get_classifier().out_features == model.num_classes == 7
    model.reset_classifier(0)
    assert model(images).shape == (2, 64)


def test_drop_rate_acts_on_the_features_in_training_only():
    model = timm.create_model("cifar_resnet20", drop_rate=0.5)
    maps = torch.ones(1, 64, 8, 8)
    assert (model.forward_head(maps, pre_logits=True) == 0).any()
    assert (model.eval().forward_head(maps, pre_logits=True) == 1).all()


def test_option_a_shortcut_subsamples_and_pads_channels():
    block = timm.create_model("cifar_resnet20").layer2[0].eval()
    torch.nn.init.zeros_(block.bn2.weight)
    x = torch.rand(1, 16, 8, 8)
    out = block(x)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


def test_distiller_blocks_sum_without_relu_and_layers_end_with_one():
    model = timm.create_model("cifar_resnet20_distiller").eval()
    x = torch.randn(1, 64, 8, 8)
    assert (model.layer1[0](x) < 0).any()
    assert (model.forward_features(torch.randn(1, 3, 32, 32)) >= 0).all()


def test_wide_block_projects_the_activated_input():
    block = PreActBlock(16, 32, 2).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.randn(1, 16, 8, 8)
    torch.testing.assert_close(block(x), block.convShortcut(F.relu(block.bn1(x))))


ROBUSTBENCH_KEYS = {
    "wrn28_10": {
        "conv1.weight",
        "block1.layer.0.bn1.running_mean",
        "block1.layer.0.convShortcut.weight",
        "block3.layer.3.conv2.weight",
        "bn1.running_var",
        "fc.bias",
    },
    "resnext29_4x32d": {
        "conv_1_3x3.weight",
        "bn_1.running_mean",
        "stage_1.0.conv_reduce.weight",
        "stage_1.0.bn_reduce.weight",
        "stage_2.2.conv_conv.weight",
        "stage_2.0.bn.running_var",
        "stage_3.0.downsample.0.weight",
        "stage_3.0.downsample.1.running_mean",
        "stage_3.1.conv_expand.weight",
        "stage_3.1.bn_expand.bias",
        "classifier.weight",
    },
}


@pytest.mark.parametrize("name", ROBUSTBENCH_KEYS)
def test_keys_are_robustbenchs(name):
    assert timm.create_model(name).state_dict().keys() >= ROBUSTBENCH_KEYS[name]


def test_a_published_file_loads_as_it_is(tmp_path):
    model = timm.create_model("cifar_resnet20")
    state = {
        f"module.{key}": value
        for key, value in model.state_dict().items()
        if "num_batches_tracked" not in key
    }
    torch.save({"state_dict": state, "best_prec1": 91.7}, tmp_path / "c.th")
    backbone = create_backbone("cifar_resnet20", weights=tmp_path / "c.th")
    assert torch.equal(backbone.classifier.weight, model.linear.weight)


@pytest.mark.parametrize(("sigma", "used"), [(0.5, 0.5), (0.5004, 0.5), (0.25, 0.25)])
def test_normalisation_kept_in_a_checkpoint_is_used(tmp_path, sigma, used):
    state = timm.create_model("resnext29_4x32d").state_dict()
    state["mu"] = torch.full((1, 3, 1, 1), 0.5)
    state["sigma"] = torch.full((1, 3, 1, 1), sigma)
    torch.save(state, tmp_path / "c.pt")
    backbone = create_backbone("resnext29_4x32d", weights=tmp_path / "c.pt")
    assert backbone.std.flatten().tolist() == [used] * 3
    said = f"mean 0.5, std {used}: kept in the checkpoint"
    assert backbone.understood["normalisation"] == said


def test_the_bottleneck_net_loads_the_released_key_names(tmp_path):
    reference = create_backbone("resnet50_bottleneck256", pretrained=False)
    bottleneck = sum(part.numel() for part in reference.model.bottleneck.parameters())
    assert bottleneck == 2048 * 256 + 256 + 2 * 256
    released = {}
    for key, value in reference.model.state_dict().items():
        key = key.replace("parametrizations.weight.original0", "weight_g")
        released["module." + key.replace("parametrizations.weight.original1", "weight_v")] = value
    assert "module.fc.weight_g" in released
    assert "module.encoder.0.fc.weight" in released
    assert "module.encoder.1.running_mean" in released
    torch.save({"state_dict": released}, tmp_path / "best_real_2020.pth")
    loaded = create_backbone("resnet50_bottleneck256", weights=tmp_path / "best_real_2020.pth")
    assert loaded.weights_sha256 == reference.weights_sha256
