"""Heads of single source domains beside the shared one, and their file."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.fakes import NUM_CLASSES, attach_domain_heads, make_backbone, make_images
from tta.backbones import create_backbone
from tta.foundation.errors import UserError
from tta.source.models import save_source_model
from tta.source.recipe import Recipe

OPTIONS = {"num_classes": NUM_CLASSES}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "heads.safetensors"
    backbone = attach_domain_heads(make_backbone("batch_norm"))
    save_source_model(backbone, path, ("a", "b", "c"), Recipe())
    return path


def test_a_file_gives_back_network_and_heads(file):
    original = attach_domain_heads(make_backbone("batch_norm"))
    loaded = create_backbone("test_resnet", weights=file, **OPTIONS)
    assert loaded.weights_sha256 == original.weights_sha256
    assert loaded.weights_sha256 != make_backbone("batch_norm").weights_sha256
    features = loaded.features(make_images(2))
    logits = loaded.domain_logits(features)
    assert torch.equal(logits, original.domain_logits(features))
    assert torch.equal(logits[-1], loaded.head(features))
    assert torch.equal(loaded.domain_heads.means, original.domain_heads.means)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_the_header_tells_domains_and_architecture(file):
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    assert json.loads(metadata["domains"]) == ["a", "b", "c"]
    assert json.loads(metadata["recipe"])["drm"] is True
    assert metadata["architecture"] == "test_resnet.r160_in1k"
    assert metadata["num_classes"] == str(NUM_CLASSES)


def test_a_class_subset_masks_every_head(file):
    whole = create_backbone("test_resnet", weights=file, **OPTIONS)
    part = create_backbone("test_resnet", weights=file, class_subset=[3, 1], **OPTIONS)
    features = whole.features(make_images(2))
    assert torch.equal(part.domain_logits(features), whole.domain_logits(features)[:, :, [3, 1]])


def test_a_clone_shares_nothing(file):
    backbone = create_backbone("test_resnet", weights=file, **OPTIONS)
    clone = backbone.clone()
    clone.domain_heads.heads[0].weight.add_(1)
    assert not torch.equal(
        clone.domain_heads.heads[0].weight, backbone.domain_heads.heads[0].weight
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop("domain_heads.means"),
        lambda state: state.update({"domain_heads.heads.0.weight": torch.zeros(4, 7)}),
        lambda state: state.update({"domain_heads.more": torch.zeros(1)}),
        lambda state: [
            state.pop(key) for key in list(state) if "heads.0" in key or "heads.1" in key
        ],
    ],
    ids=["missing", "shape", "unexpected", "single"],
)
def test_heads_that_do_not_fit_are_refused(file, damage):
    state = load_file(file)
    damage(state)
    save_file(state, file)
    with pytest.raises(UserError, match=r"domain heads in checkpoint .* do not fit.*--drm"):
        create_backbone("test_resnet", weights=file, **OPTIONS)


def test_loading_leaves_the_global_generator(file):
    before = torch.get_rng_state()
    create_backbone("test_resnet", weights=file, **OPTIONS)
    assert torch.equal(before, torch.get_rng_state())
