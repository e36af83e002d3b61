"""Normalisation, classes and size: from the user, the checkpoint, or files beside it."""

from __future__ import annotations

import argparse
import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from tta.backbones import create_backbone
from tta.foundation.errors import UserError

MEAN, STD = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
TIMM = "mean 0.5, std 0.5"
OWN = "mean 0.1, 0.2, 0.3, std 0.4, 0.5, 0.6"


@pytest.fixture
def state():
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=4).state_dict()


@pytest.fixture
def make(tmp_path, state):
    """Return a backbone of a checkpoint with such things in it and beside it."""

    def make(inside=None, files=None, name="test_resnet", num_classes=4, **options):
        for file, text in (files or {}).items():
            (tmp_path / file).write_text(text if isinstance(text, str) else json.dumps(text))
        torch.save({"state_dict": state, **(inside or {})}, tmp_path / "w.pth")
        path = tmp_path / "w.pth"
        return create_backbone(name, weights=path, num_classes=num_classes, **options)

    return make


def assert_normalises(backbone, mean, std):
    images = torch.rand(1, 3, 32, 32)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    with torch.no_grad():
        assert torch.equal(backbone(images), backbone.model((images - mean) / std))


def test_without_a_word_it_is_timms_and_doubtful(make):
    said = make().understood["normalisation"]
    assert said == (
        f"{TIMM}: timm's configuration of test_resnet.r160_in1k; the checkpoint names none"
    )


INSIDE = {
    "pretrained_cfg": {"mean": MEAN, "std": tuple(STD)},
    "hyper_parameters": {"mean": MEAN, "std": STD, "lr": 1},
    "args": argparse.Namespace(mean=MEAN, std=STD, lr=1),
}


@pytest.mark.parametrize("key", INSIDE)
def test_what_the_checkpoint_says(make, key):
    backbone = make({key: INSIDE[key]}, {"config.json": {"mean": [0.9] * 3, "std": [0.9] * 3}})
    assert_normalises(backbone, MEAN, STD)
    assert backbone.understood["normalisation"] == f"{OWN}: {key!r} in the checkpoint"


def test_what_is_no_normalisation_is_left_alone(make):
    for inside in (
        {"hyper_parameters": {"mean": 0.0, "std": 0.02}},  # of initial weights, say
        {"args": argparse.Namespace(mean=None, std=None)},
        {"pretrained_cfg": {"mean": "imagenet", "std": STD}},
        {"config": [1, 2]},
    ):
        assert make(inside).understood["normalisation"].startswith(TIMM)


BESIDE = {
    "of timm's hub": {"architecture": "test_resnet", "pretrained_cfg": {"mean": MEAN, "std": STD}},
    "with a tag": {"architecture": "test_resnet.mine", "mean": MEAN, "std": STD},
    "flat": {"mean": MEAN, "std": STD},
}


@pytest.mark.parametrize("form", BESIDE)
def test_what_config_json_beside_it_says(make, form):
    backbone = make(files={"config.json": BESIDE[form]})
    assert_normalises(backbone, MEAN, STD)
    assert backbone.understood["normalisation"] == f"{OWN}: config.json beside the checkpoint"


def test_the_preprocessor_file_of_the_hub(make):
    backbone = make(files={"preprocessor_config.json": {"image_mean": MEAN, "image_std": STD}})
    assert_normalises(backbone, MEAN, STD)


def test_a_config_of_another_architecture_is_not_used(make):
    facts = {"architecture": "resnet50", "num_classes": 9, "mean": MEAN, "std": STD}
    said = make(files={"config.json": facts}).understood["normalisation"]
    assert said.startswith(TIMM)
    assert said.endswith(
        "config.json beside the checkpoint is of 'resnet50' and not used; the checkpoint names none"
    )


@pytest.mark.parametrize("text", ["{", "\x00", '{"a":' * 100_000])
def test_a_damaged_config_is_refused(make, text):
    with pytest.raises(UserError, match=r"config.json, beside the checkpoint, cannot be read"):
        make(files={"config.json": text})


def test_other_json_says_nothing(make):
    assert make(files={"config.json": [1]}).understood["normalisation"].startswith(TIMM)


def test_what_the_user_says_goes_over_all(make):
    backbone = make({"pretrained_cfg": {"mean": MEAN, "std": STD}}, normalisation=([0.5], [0.25]))
    assert_normalises(backbone, [0.5] * 3, [0.25] * 3)
    assert backbone.normalisation == ((0.5,) * 3, (0.25,) * 3)
    expected = "mean 0.5, std 0.25: --mean and --std "
    expected += f"('pretrained_cfg' in the checkpoint says {OWN})"
    assert backbone.understood["normalisation"] == expected
    same = make({"pretrained_cfg": {"mean": MEAN, "std": STD}}, normalisation=(MEAN, STD))
    assert same.understood["normalisation"] == f"{OWN}: --mean and --std"


def test_values_of_another_scale_are_refused_unless_the_user_says(make):
    inside = {"pretrained_cfg": {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}}
    cure = "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"
    with pytest.raises(UserError, match=f"pixels from 0 to 255.*{cure}"):
        make(inside)
    assert_normalises(make(inside, normalisation=(MEAN, STD)), MEAN, STD)


@pytest.mark.parametrize("prefix", ["", "normalize.", "module.norm."])
@pytest.mark.parametrize(("first", "second"), [("mean", "std"), ("mu", "sigma"), ("means", "sds")])
def test_a_layer_that_normalises_before_the_network(tmp_path, state, prefix, first, second):
    wrapped = {f"module.model.{key}": value for key, value in state.items()}
    wrapped[prefix + first] = torch.tensor(MEAN).view(3, 1, 1)
    wrapped[prefix + second] = torch.tensor(STD).view(3, 1, 1)
    save_file(wrapped, tmp_path / "w.safetensors")
    backbone = create_backbone("test_resnet", weights=tmp_path / "w.safetensors", num_classes=4)
    assert_normalises(backbone, MEAN, STD)
    assert backbone.understood["normalisation"] == f"{OWN}: kept in the checkpoint"


def test_classes_and_size_from_config_json(make):
    facts = {"num_classes": 4, "pretrained_cfg": {"input_size": [3, 96, 64]}}
    backbone = make(files={"config.json": facts}, num_classes=None)
    assert backbone.num_classes == 4
    assert backbone.input_size == (3, 96, 64)


def test_the_size_of_a_network_that_takes_only_one(tmp_path):
    model = timm.create_model("test_vit", num_classes=4, img_size=96)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    facts = {"num_classes": 4, "pretrained_cfg": {"input_size": [3, 96, 96]}}
    (tmp_path / "config.json").write_text(json.dumps(facts))
    backbone = create_backbone("test_vit", weights=tmp_path / "model.safetensors")
    assert backbone.input_size == (3, 96, 96)
    images = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        normalised = (images - backbone.mean) / backbone.std
        assert torch.equal(backbone(images), model.eval()(normalised))


def test_timms_own_weights_are_not_doubtful():
    from tta.backbones.model_card import ModelCard, choose_normalisation

    config = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    said = choose_normalisation(ModelCard(), config, "what is usual", None, False)[2]
    assert said == "mean 0.5, std 0.5: what is usual"


def test_a_run_says_nothing_of_its_data_sets_own_model():
    from tta.config import RunConfig
    from tta.datasets import open_dataset
    from tta.datasets.digits import WEIGHTS
    from tta.experiment.parts import make_backbone

    dataset = open_dataset("digits-c", None)
    assert make_backbone(RunConfig(), dataset).understood == {}
    said = make_backbone(RunConfig(mean=(0.5,), std=(0.25,)), dataset).understood
    assert said.keys() == {"normalisation"}
    named = make_backbone(RunConfig(weights=str(WEIGHTS)), dataset).understood
    assert named["weights"] == f"{WEIGHTS.name}: as it is"
