"""Names, weights and options of create_backbone."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from tta.backbones import create_backbone
from tta.backbones.names import architectures
from tta.foundation.errors import UserError


def test_a_random_network_is_the_same_every_time_and_leaves_the_global_generators():
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    first = create_backbone("test_resnet", pretrained=False)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]
    torch.rand(3)
    second = create_backbone("test_resnet", pretrained=False)
    assert first.weights_sha256 == second.weights_sha256


def test_a_tag_chooses_the_configuration():
    assert create_backbone("test_vit.r160_in1k", pretrained=False).input_size == (3, 160, 160)


def test_img_size_sets_the_input_size():
    backbone = create_backbone("test_vit", pretrained=False, model_kwargs={"img_size": 96})
    assert backbone.input_size == (3, 96, 96)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet50x", "'resnet50'"),
        ("cifar_resnet21", "'cifar_resnet2"),
        ("resnet50.a1_in2k", "'resnet50.a1_in1k'"),
        ("§§", "known: cifar_resnet20"),
    ],
)
def test_an_unknown_name_is_refused_with_near_ones(name, hint):
    with pytest.raises(UserError, match="unknown backbone") as caught:
        create_backbone(name)
    assert hint in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["cifar_resnet20", "test_vit4"])
@pytest.mark.parametrize("pretrained", [None, True])
def test_a_model_without_weights_asks_for_a_file(name, pretrained):
    with pytest.raises(UserError, match=f"'{name}.*' has no published weights.*--weights FILE"):
        create_backbone(name, pretrained=pretrained)


@pytest.mark.parametrize("pretrained", [None, True])
def test_timms_weights_are_the_default_and_a_failed_download_is_told(monkeypatch, pretrained):
    def offline(name, pretrained, **kwargs):
        assert pretrained
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match=r"cannot be downloaded.*no route.*--weights FILE"):
        create_backbone("resnet50", pretrained=pretrained)


def test_pretrained_weights_with_another_number_of_classes_are_refused():
    with pytest.raises(UserError, match="1000 classes, 10 are asked for"):
        create_backbone("resnet50", num_classes=10)


def test_a_file_and_pretrained_weights_together_are_refused(tmp_path):
    with pytest.raises(UserError, match="leave one of them out"):
        create_backbone("resnet50", weights=tmp_path / "w.pt", pretrained=True)


def test_unknown_model_kwargs_are_refused():
    with pytest.raises(UserError, match="model_kwargs.*colour"):
        create_backbone("test_resnet", pretrained=False, model_kwargs={"colour": 1})


def test_weights_come_from_the_file(tmp_path):
    random_one = create_backbone("test_resnet", pretrained=False, num_classes=4)
    state = {key: value.clone() for key, value in random_one.model.state_dict().items()}
    state["fc.bias"] += 1
    save_file(state, tmp_path / "weights.safetensors")
    loaded = create_backbone("test_resnet", weights=tmp_path / "weights.safetensors", num_classes=4)
    assert torch.equal(loaded.classifier.bias, random_one.classifier.bias + 1)
    assert loaded.weights_sha256 != random_one.weights_sha256


def test_a_file_with_another_number_of_classes_is_refused(tmp_path):
    state = timm.create_model("test_resnet", num_classes=4).state_dict()
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"fc.weight \[4, 96\] instead of \[1000, 96\]"):
        create_backbone("test_resnet", weights=tmp_path / "weights.pt")


def test_the_package_imports_without_timm():
    check = "import sys, tta.backbones, tta.backbones.backbone; sys.exit('timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def test_names_read_from_source_are_timm_s():
    import tta.backbones.nets  # noqa: F401 - registers them

    assert architectures() == set(timm.list_models())
