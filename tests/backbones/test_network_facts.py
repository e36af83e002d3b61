"""A network that was written computes the same when it is read: all that is no tensor is kept."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.backbones.test_torchvision_names import network
from tta.backbones import create_backbone
from tta.backbones.layer_eps import LAYER_EPS, layer_eps
from tta.backbones.model_card import HEADER
from tta.backbones.network_facts import difference_in_facts, header_facts
from tta.foundation.errors import UserError
from tta.ops.norm.batch_norm import replace_batch_norm
from tta.ops.norm.instance_aware import InstanceAwareBatchNorm
from tta.source.models import write_network

MEAN, STD = (0.5001, 0.456, 0.406), (0.5, 0.5, 0.50009)


def make(name="test_resnet", **options):
    return create_backbone(name, num_classes=4, pretrained=False, **options)


def with_eps(eps=1e-3, **options):
    backbone = make(**options)
    for layer in layer_eps(backbone.model):
        backbone.model.get_submodule(layer).eps = eps
    return backbone


def written(backbone, folder, name=None):
    file = folder / "net.safetensors"
    write_network(backbone, file, {"more": "facts"})
    return create_backbone(name or backbone.name, weights=file)


@torch.no_grad()
def assert_same(one, other, count=3):
    images = torch.rand(count, *one.input_size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one(images), other(images))


def named(names, **options):
    backbone = make(**options)
    backbone.label_names = names
    return backbone


def aware():
    backbone = make()
    replace_batch_norm(backbone, InstanceAwareBatchNorm)
    return backbone


NETWORKS = {
    "eps": with_eps,
    "eps without digits to spare": lambda: with_eps(1 / 3e4),
    "mean and std near the usual": lambda: make(normalisation=(MEAN, STD)),
    "names": lambda: named(["d", "a", "c", "b"]),
    "names by output": lambda: named({0: "d", 2: "c"}),
    "another size": lambda: make("test_vit", model_kwargs={"img_size": (96, 64)}),
    "instance-aware": aware,
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_that_was_written_computes_the_same(tmp_path, kind):
    backbone = NETWORKS[kind]()
    found = written(backbone, tmp_path)
    assert_same(backbone, found)
    assert difference_in_facts(backbone, found) == ""
    assert header_facts(found) == header_facts(written(found, tmp_path))
    names = backbone.label_names
    expected = {str(key): name for key, name in names.items()} if type(names) is dict else names
    assert found.label_names == expected


def test_torchvisions_eps_is_kept_and_said(tmp_path):
    torch.save(network("mobilenet_v3_small").state_dict(), tmp_path / "w.pth")
    theirs = create_backbone("mobilenetv3_small_100", weights=tmp_path / "w.pth", num_classes=7)
    found = written(theirs, tmp_path)
    assert_same(theirs, found, 1)
    assert found.weights_sha256 == theirs.weights_sha256
    assert "eps of 34 layers as its header says" in found.understood["weights"]
    said = found.understood["normalisation"]
    assert said.endswith(": 'pretrained_cfg' in the header of the checkpoint")


def test_usual_eps_is_not_spoken_of(tmp_path):
    found = written(make(), tmp_path)
    assert found.understood["weights"] == "net.safetensors: as it is"
    assert found.model.changed_eps == {}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"none": 1e-3}',
        '{"bn1": 0}',
        '{"bn1": NaN}',
        '{"bn1": "1e-3"}',
        '{"bn1": true}',
        '{"conv1": 1e-3}',
        '{"bn1": 1e300}',
        json.dumps({"bn1": 10**400}),
    ],
)
def test_eps_that_cannot_be_is_refused(tmp_path, text):
    file = tmp_path / "net.safetensors"
    save_file(make().model.state_dict(), file, {LAYER_EPS: text})
    with pytest.raises(UserError, match="its header says eps .* write it again"):
        create_backbone("test_resnet", weights=file, num_classes=4)


@pytest.mark.parametrize("text", ["{", "7", '{"mean": "x"}', '{"input_size": [3, NaN, 1e999]}'])
def test_a_card_of_another_kind_says_nothing(tmp_path, text):
    file = tmp_path / "net.safetensors"
    save_file(make().model.state_dict(), file, {HEADER: text})
    found = create_backbone("test_resnet", weights=file, num_classes=4)
    assert found.understood["normalisation"].endswith("the checkpoint names none")


@pytest.mark.parametrize("text", ["{", "[1]", '{"mean": [0.5, 0.5], "std": [1.0, 1.0]}'])
def test_a_damaged_card_that_was_written_here_is_refused(tmp_path, text):
    file = tmp_path / "net.safetensors"
    save_file(make().model.state_dict(), file, {LAYER_EPS: "{}", HEADER: text})
    with pytest.raises(UserError, match="'pretrained_cfg' is damaged.*write the file again"):
        create_backbone("test_resnet", weights=file, num_classes=4)


def test_a_mean_that_cannot_be_is_refused(tmp_path):
    file = tmp_path / "net.safetensors"
    card = {"mean": [10**400] * 3, "std": STD}
    save_file(make().model.state_dict(), file, {HEADER: json.dumps(card)})
    with pytest.raises(UserError, match="mean"):
        create_backbone("test_resnet", weights=file, num_classes=4)


SIZES = [[3, -1, 8], [4, 32, 32], [3, 10**9, 10**9], [3, 31.5, 32], [3, 10**400, 32]]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: str(size)[:20])
def test_a_card_without_a_size_that_can_be_says_the_rest(tmp_path, size):
    card = {"mean": MEAN, "std": STD, "input_size": size, "num_classes": 4}
    file = tmp_path / "net.safetensors"
    save_file(make().model.state_dict(), file, {HEADER: json.dumps(card)})
    found = create_backbone("test_resnet", weights=file)
    assert found.normalisation == (MEAN, STD)
    assert found.input_size == make().input_size


DIFFERENT = {
    "layers have another eps, 'conv1.1' first: 1e-05 and 0.001": with_eps,
    "one is instance-aware, of the other plain": aware,
    "they normalise images by mean 0.5, std 0.5 and by mean 0.5001": NETWORKS[
        "mean and std near the usual"
    ],
    "output 0 is 'a' in one and 'd' in the other": NETWORKS["names"],
}


@pytest.mark.parametrize("words", DIFFERENT)
def test_differences_are_said(words):
    assert words in difference_in_facts(named(["a", "b", "c", "d"]), DIFFERENT[words]())


def test_another_size_is_said():
    pair = [make("test_vit", model_kwargs={"img_size": size}) for size in (96, 64)]
    assert difference_in_facts(*pair) == "they take images of 96x96 and of 64x64"


def test_without_a_header_it_is_as_timm_has_it(tmp_path):
    file = tmp_path / "net.safetensors"
    write_network(with_eps(), file, {})
    save_file(load_file(file), file)
    found = create_backbone("test_resnet", weights=file, num_classes=4)
    assert layer_eps(found.model) == layer_eps(make().model)
