"""NOTE: independence of batch sizes, one update, and the models that it refuses."""

import pytest
import torch

from tests.fakes import NUM_CLASSES, RandomImages, make_backbone, make_images
from tests.methods.selective import IMAGES, make, parameters
from tta.backbones import create_backbone
from tta.foundation.errors import UserError
from tta.methods import METHODS
from tta.methods.requirements import check_needs
from tta.ops.losses import entropy
from tta.ops.norm.batch_norm import replace_batch_norm
from tta.ops.norm.instance_aware import InstanceAwareBatchNorm, instance_aware_layers
from tta.source.models import save_source_model
from tta.source.recipe import Recipe
from tta.source.training import train


def test_predictions_do_not_depend_on_the_size_of_batches():
    images = make_images(9, 3)
    options = {"memory_size": 6, "update_interval": 4, "lr": 0.01, "convert_batch_norm": True}
    whole, single = (make("note", "batch_norm", **options) for _ in range(2))
    outputs = torch.cat([single.step(images[i : i + 1]) for i in range(9)])
    torch.testing.assert_close(whole.step(images), outputs, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(parameters(whole), parameters(single), atol=1e-4, rtol=1e-3)


def test_one_update():
    options = {"memory_size": 20, "update_interval": 8, "convert_batch_norm": True}
    sgd = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.0}
    note, naive = (make("note", "batch_norm", **options, **sgd) for _ in range(2))
    start, outputs = parameters(naive), naive.predict(IMAGES)
    for layer in naive.layers:
        layer.follow = True
    loss = entropy(naive.backbone(IMAGES)).mean()
    parts = torch.autograd.grad(loss, naive.parameters)
    gradient = torch.cat([part.flatten() for part in parts])
    torch.testing.assert_close(note.step(IMAGES), outputs)
    torch.testing.assert_close(parameters(note), start - 0.1 * gradient, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(note.statistics, naive.statistics)
    assert gradient.norm() > 1e-3


def test_the_released_weight_decay_is_as_many_times_as_much_as_there_are_classes():
    options = {"memory_size": 20, "update_interval": 8, "convert_batch_norm": True, "lr": 0.01}
    note = make("note", "batch_norm", **options, weight_decay=NUM_CLASSES * 0.05)
    plain, naive = (make("note", "batch_norm", **options) for _ in range(2))
    for layer in naive.layers:
        layer.follow = True
    p = naive.backbone(IMAGES).softmax(1)
    loss = -(p * p.log()).mean()  # over images and classes, as released
    gradients = torch.autograd.grad(loss, naive.parameters)
    start = parameters(naive)
    gradient = torch.cat([part.flatten() for part in gradients]) + 0.05 * start
    clear = gradient.abs() > 1e-5  # below, rounding decides the sign that Adam steps by
    note.step(IMAGES)
    plain.step(IMAGES)
    expected = start - 0.01 * gradient.sign()  # Adam's first step
    assert clear.float().mean() > 0.4
    torch.testing.assert_close(parameters(note)[clear], expected[clear], atol=1e-4, rtol=1e-3)
    assert (parameters(plain) - parameters(note))[clear].abs().max() > 1e-2


def test_a_model_that_was_not_trained_for_it_is_refused_unless_converted():
    note = METHODS["note"]
    backbone = make_backbone("batch_norm")
    with pytest.raises(
        UserError, match="instance-aware.*tta.train_source.*convert_batch_norm=true"
    ):
        check_needs(note, note.Params(), backbone, has_source=False)
    check_needs(note, note.Params(convert_batch_norm=True), backbone, has_source=False)
    replace_batch_norm(backbone, InstanceAwareBatchNorm)
    check_needs(note, note.Params(), backbone, has_source=False)


def test_a_model_is_trained_saved_and_recognised(tmp_path):
    backbone = make_backbone("batch_norm")
    recipe = Recipe(drm=False, steps=2, batch_size=4, instance_aware=True)
    before = backbone.model.state_dict()["bn1.running_mean"].clone()
    train(backbone, RandomImages(12, ("a",)), recipe)
    assert not torch.equal(backbone.model.state_dict()["bn1.running_mean"], before)
    save_source_model(backbone, tmp_path / "aware.safetensors", ("a",), recipe)
    weights = tmp_path / "aware.safetensors"
    loaded = create_backbone("test_resnet", weights=weights, num_classes=NUM_CLASSES)
    assert len(instance_aware_layers(loaded)) == len(instance_aware_layers(backbone)) > 0
    torch.testing.assert_close(loaded(IMAGES), backbone(IMAGES))
    note = METHODS["note"](loaded.clone())
    torch.testing.assert_close(note.step(IMAGES), backbone(IMAGES))
    with pytest.raises(UserError, match="is instance-aware.*--method note or source"):
        METHODS["tent"](loaded)
