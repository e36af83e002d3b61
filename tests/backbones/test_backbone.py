"""Backbones made of small timm models."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from tta.backbones import create_backbone, wrap_model
from tta.foundation.errors import UserError

MODELS = {
    "test_resnet": {},
    "test_vit": {},
    "test_efficientnet": {},
    "test_convnext": {},
    # The classifier is a 1x1 convolution.
    "resnetv2_18": {"channels": (8, 8, 16, 16), "stem_chs": 8},
}


def images_for(backbone, batch=3):
    generator = torch.Generator().manual_seed(7)
    return torch.rand(batch, *backbone.input_size, generator=generator)


@pytest.fixture(scope="module", params=MODELS)
def backbone(request):
    return create_backbone(request.param, pretrained=False, model_kwargs=MODELS[request.param])


def test_forward_is_head_of_features_and_the_models_own(backbone):
    images = images_for(backbone)
    mean = torch.tensor(backbone.model.pretrained_cfg["mean"]).view(1, 3, 1, 1)
    std = torch.tensor(backbone.model.pretrained_cfg["std"]).view(1, 3, 1, 1)
    with torch.no_grad():
        features = backbone.features(images)
        logits = backbone(images)
        own = backbone.model((images - mean) / std)
    assert features.shape == (3, backbone.feature_dim)
    assert logits.shape == (3, backbone.num_classes) == (3, 1000)
    torch.testing.assert_close(logits, backbone.head(features))
    torch.testing.assert_close(logits, own)


def test_is_frozen_and_in_eval_mode(backbone):
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_state_dict_holds_the_models_weights_alone(backbone):
    assert backbone.state_dict().keys() == {f"model.{key}" for key in backbone.model.state_dict()}


def test_the_classifier_may_be_a_convolution():
    backbone = create_backbone(
        "resnetv2_18", pretrained=False, model_kwargs=MODELS["resnetv2_18"], num_classes=7
    )
    assert isinstance(backbone.classifier, nn.Conv2d)
    assert (backbone.num_classes, backbone.feature_dim) == (7, 16)


def test_the_wrapped_model_stays_as_it_is():
    model = timm.create_model("test_resnet", num_classes=5)
    before = copy.deepcopy(model)
    backbone = wrap_model(model)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.zero_()
    assert str(model) == str(before)
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]
    assert all(parameter.requires_grad for parameter in model.parameters())
    for (key, value), expected in zip(
        model.state_dict().items(), before.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(value, expected, rtol=0, atol=0, msg=key)


def test_dropout_and_drop_path_are_off():
    rates = {"drop_rate": 0.3, "drop_path_rate": 0.2}
    backbone = create_backbone("test_vit", pretrained=False, model_kwargs=rates)
    images = images_for(backbone)
    with torch.no_grad():
        first, second = backbone(images), backbone(images)
    assert any(isinstance(m, nn.Dropout) and m.p == 0.3 for m in backbone.modules())
    assert torch.equal(first, second)


def test_features_and_logits_are_float32_under_autocast(backbone):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        features = backbone.features(images_for(backbone, batch=1))
        logits = backbone.head(features)
    assert features.dtype == logits.dtype == torch.float32


def test_the_head_passes_gradients_to_features_and_images():
    backbone = create_backbone("test_resnet", pretrained=False)
    images = images_for(backbone, batch=1).requires_grad_()
    backbone(images).square().sum().backward()
    assert images.grad.abs().sum() > 0


def test_a_class_subset_selects_columns_in_its_order():
    whole = create_backbone("test_resnet", pretrained=False)
    subset = create_backbone("test_resnet", pretrained=False, class_subset=[7, 2, 999])
    images = images_for(whole)
    assert subset.num_classes == 3
    assert subset.weights_sha256 == whole.weights_sha256
    with torch.no_grad():
        assert torch.equal(subset(images), whole(images)[:, [7, 2, 999]])


@pytest.mark.parametrize("class_subset", [[], [1, 1], [-1, 2], [1000]])
def test_a_wrong_class_subset_is_refused(class_subset):
    with pytest.raises(UserError, match="distinct class ids from 0 to 999"):
        create_backbone("test_resnet", pretrained=False, class_subset=class_subset)


def test_a_clone_is_independent(backbone):
    images = images_for(backbone)
    clone = backbone.clone()
    with torch.no_grad():
        expected = backbone(images)
        assert torch.equal(clone(images), expected)
        clone.classifier.weight.add_(1.0)
        assert torch.equal(backbone(images), expected)
        assert not torch.equal(clone(images), expected)
    assert clone.weights_sha256 == backbone.weights_sha256


def weight_norm_hook(layer):
    return nn.utils.weight_norm(layer, dim=0)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
@pytest.mark.parametrize("normalise", [nn.utils.parametrizations.weight_norm, weight_norm_hook])
def test_weight_normed_backbones_copy_after_a_forward_with_gradients(normalise):
    backbone = create_backbone("test_resnet", pretrained=False, num_classes=4)
    normalise(backbone.classifier)
    backbone.requires_grad_(True)
    images = images_for(backbone, batch=1)
    expected = backbone(images)
    for duplicate in (backbone.clone(), copy.deepcopy(backbone)):
        torch.testing.assert_close(duplicate(images), expected)
        duplicate(images).sum().backward()
        assert all(parameter.requires_grad for parameter in duplicate.parameters())
    assert all(parameter.grad is None for parameter in backbone.parameters())


def two_classifiers(model):
    model.get_classifier = lambda: (model.fc, model.fc)


def no_classifier(model):
    model.reset_classifier(0)


def scaled_logits(model):
    model.forward = lambda images: 2 * type(model).forward(model, images)


def wider_classifier(model):
    model.fc = nn.Linear(model.num_features + 1, 10)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (two_classifiers, "its classifier is a tuple"),
        (no_classifier, "its classifier is a Identity"),
        (scaled_logits, "do not give the model's own logits"),
        (wider_classifier, "features have 96 columns, its classifier takes 97"),
    ],
)
def test_a_model_that_cannot_be_split_is_refused_by_name(change, reason):
    model = timm.create_model("test_resnet")
    change(model)
    with pytest.raises(UserError, match=f"'mine' is refused: .*{reason}"):
        wrap_model(model, "mine")


def test_a_model_that_does_not_say_which_images_it_takes_is_refused():
    with pytest.raises(UserError, match=r"'Linear' does not say which images.*input_size="):
        wrap_model(nn.Linear(2, 2))
