"""What tta.adapt finds in a network: its last layer, its normalisation, its size."""

from __future__ import annotations

from functools import partial

import pytest
import timm
import torch
import torchvision

import tta
from tests.fakes import make_images
from tests.library.adapting import BATCHES, SIZE, normalise, small_vit
from tests.own_nets import NUM_CLASSES, Changed, OwnNet, Squares, made
from tta.foundation.errors import UserError


def test_the_last_layer_is_found_where_another_has_its_shape():
    assert "'second'" in tta.adapt(made(Squares), "source", input_size=SIZE).understood["head"]


@pytest.mark.parametrize("size", [(3, 32, 32), (32, 32), [3, 32, 32]])
def test_mean_and_std_of_an_own_network(size):
    network = made(OwnNet)
    adapted = tta.adapt(network, "source", mean=(0.4, 0.5, 0.6), std=0.2, input_size=size)
    mean = torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)
    std = torch.tensor(0.2)
    with torch.no_grad():
        assert torch.equal(adapted(BATCHES[0]), network((BATCHES[0] - mean) / std))
    assert adapted.understood["normalisation"] == "mean 0.4, 0.5, 0.6, std 0.2: as given"


def of_torchvision(name, **options):
    return partial(torchvision.models.get_model, name, num_classes=NUM_CLASSES, **options)


@pytest.mark.parametrize(
    "build_one",
    [of_torchvision("resnet18"), of_torchvision("mobilenet_v3_small"), small_vit],
    ids=["resnet18", "mobilenet_v3_small", "vit"],
)
def test_networks_of_torchvision_tell_their_normalisation(build_one):
    network = made(build_one)
    adapted = tta.adapt(network, "source")
    images = make_images(2)
    with torch.no_grad():
        assert torch.equal(adapted(images), network(normalise(images)))
    assert "ImageNet" in adapted.understood["normalisation"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    "alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 "
    "maxvit_t mnasnet0_5 mobilenet_v2 mobilenet_v3_large regnet_x_400mf regnet_y_400mf resnet50 "
    "resnext50_32x4d shufflenet_v2_x0_5 swin_t swin_v2_t vgg11 vgg11_bn vit_b_16 "
    "wide_resnet50_2".split(),
)
def test_every_family_of_torchvision_is_itself_and_adapts(name):
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    network = made(of_torchvision(name, **options))
    adapted = tta.adapt(network, "source")
    images = torch.rand(2, *adapted.method.backbone.input_size)
    with torch.no_grad():
        assert torch.equal(adapted(images), network(normalise(images)))
    if name not in ("alexnet", "vgg11"):  # no normalisation layers
        assert tta.adapt(network, "tent")(images).isfinite().all()


@pytest.mark.parametrize("name", ["squeezenet1_1"])
def test_what_follows_the_last_layer_is_named(name):
    with pytest.raises(UserError, match=r"does not end in a linear layer.*classifier\.1.*split="):
        tta.adapt(made(of_torchvision(name)), "source")


def test_a_network_of_timm_is_taken_as_the_commands_take_it():
    network = timm.create_model("test_resnet.r160_in1k", num_classes=NUM_CLASSES).eval()
    adapted = tta.adapt(network, "source")
    assert adapted.method.backbone.name == "test_resnet.r160_in1k"
    assert adapted.method.backbone.input_size == (3, 160, 160)
    with torch.no_grad():
        assert torch.equal(adapted(BATCHES[0]), network((BATCHES[0] - 0.5) / 0.5))
    split = tta.adapt(network, "source", split="fc")
    assert torch.equal(split(BATCHES[0]), adapted(BATCHES[0]))


def test_a_network_of_timm_made_for_another_size():
    network = timm.create_model("test_vit", img_size=64, num_classes=NUM_CLASSES)
    assert tta.adapt(network, "tent").method.backbone.input_size == (3, 64, 64)


def test_what_leaves_the_output_as_it_is_may_follow():
    network = made(Changed, lambda out: out[:, :, None].squeeze(2).clone())
    assert tta.adapt(network, "tent", input_size=SIZE)(BATCHES[0]).shape == (6, NUM_CLASSES)


def test_what_it_is_is_shown():
    text = repr(tta.adapt(made(OwnNet), "tent", input_size=SIZE, lr=0.5))
    assert text.startswith("Adapted(tent, Tent.Params(") and "lr=0.5" in text
    assert "head: layer 'out', a Linear of 16 features and 5 outputs" in text
    assert "normalisation: mean 0, std 1: none was given" in text
