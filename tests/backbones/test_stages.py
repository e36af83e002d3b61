"""Which norm layers a quarter of the depth leaves out."""

import pytest
import timm
import torch
import torchvision

from tta.backbones import create_backbone
from tta.backbones.stages import early_norm_parameters
from tta.ops.parameters import norm_affine_parameters


def frozen_layers(name, share=0.25, **options):
    backbone = create_backbone(name, num_classes=5, pretrained=False, model_kwargs=options)
    kept = set(early_norm_parameters(backbone, share))
    frozen = set(norm_affine_parameters(backbone)) - kept
    assert kept
    return {key.rpartition(".")[0] for key, p in backbone.model.named_parameters() if p in frozen}


def test_a_layer_behind_the_network_that_tells_its_stages_is_kept():
    frozen = frozen_layers("resnet50_bottleneck256")
    assert frozen
    assert all(".layer4." in name for name in frozen)


def test_a_resnet_loses_its_last_stage():
    assert {name.split(".")[0] for name in frozen_layers("resnet18")} == {"layer4"}


def test_a_transformer_loses_the_last_quarter_of_its_blocks_and_the_final_norm():
    assert frozen_layers("vit_tiny_patch16_224") == {
        "norm",
        *(f"blocks.{block}.norm{norm}" for block in (9, 10, 11) for norm in (1, 2)),
    }


@pytest.mark.parametrize("name", ["cifar_resnet20", "resnext29_4x32d"])
def test_nets_of_three_stages_keep_all(name):
    assert frozen_layers(name) == set()


def test_nothing_is_frozen_for_a_share_of_zero():
    assert frozen_layers("resnet18", share=0.0) == set()


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("resnet18", "resnet18"),
        ("regnet_y_400mf", "regnety_004"),
        ("densenet121", "densenet121"),
        ("efficientnet_b0", "efficientnet_b0"),
        ("efficientnet_v2_s", "tf_efficientnetv2_s"),
        ("convnext_tiny", "convnext_tiny"),
        ("swin_t", "swin_tiny_patch4_window7_224"),
        ("vit_b_16", "vit_base_patch16_224"),
    ],
)
def test_networks_of_torchvision_keep_what_their_twins_of_timm_keep(name, twin):
    # Only names and numbers of weights count; timm's RegNets compute with them.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        models = torchvision.models.get_model(name), timm.create_model(twin)
    for share in (0.25, 0.5):
        counts = [len(early_norm_parameters(model, share)) for model in models]
        assert counts[0] == counts[1] < len(norm_affine_parameters(models[0]))
