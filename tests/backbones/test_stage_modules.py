"""Where the stages of a model end, whoever wrote it."""

import pytest
import timm
import torchvision

import tta.backbones.nets  # noqa: F401  registers ours with timm
from tta.backbones.stages import stage_modules


def names_of(model):
    names = {module: name for name, module in model.named_modules()}
    return [names[module] for module in stage_modules(model)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ["layer1", "layer2", "layer3", "layer4"]),
        ("digits_vit", ["blocks.0", "blocks.2", "blocks.3", "blocks.5"]),
        ("convnext_atto", ["stages.0", "stages.1", "stages.2", "stages.3"]),
        ("efficientnet_b0", ["blocks.0", "blocks.2", "blocks.4", "blocks.6"]),
        ("cifar_resnet20", ["layer1", "layer2", "layer3"]),
    ],
)
def test_of_timm_and_of_this_package(name, expected):
    assert names_of(timm.create_model(name)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ["layer1", "layer2", "layer3", "layer4"]),
        ("densenet121", [f"features.denseblock{number}" for number in (1, 2, 3, 4)]),
        ("convnext_tiny", [f"features.{number}" for number in (1, 3, 5, 7)]),
        ("mobilenet_v2", []),
    ],
)
def test_of_torchvision(name, expected):
    assert names_of(torchvision.models.get_model(name)) == expected


def test_more_are_parted_evenly_and_fewer_are_all():
    model = timm.create_model("digits_vit")
    assert [len(stage_modules(model, most)) for most in (1, 3, 6, 9)] == [1, 3, 6, 6]
    assert stage_modules(model, 1) == [model.blocks[5]]
