"""RoTTA: when it updates, and one update against its definition."""

import pytest
import torch
from torch import nn

from tests.fakes import make_images
from tests.methods.selective import IMAGES, make, parameters
from tta.ops.losses import soft_cross_entropy


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def test_outputs_are_those_of_the_source_model_before_the_first_update():
    method = make("rotta", "batch_norm", memory_size=8, update_interval=16)
    expected = method.backbone(IMAGES).detach()
    start = parameters(method)
    torch.testing.assert_close(method.step(IMAGES), expected)
    assert torch.equal(parameters(method), start)
    expected = method.predict(make_images(8, 6))
    torch.testing.assert_close(method.step(make_images(8, 6)), expected)
    assert not torch.equal(parameters(method), start)


@pytest.mark.parametrize("sizes", [(24,), (5, 1, 18)])
def test_updates_come_after_every_interval_whatever_the_batches(sizes):
    images = make_images(24, 8)
    method = make("rotta", memory_size=8, update_interval=6)
    updates = []
    method._update = lambda: updates.append(method.seen)
    for batch in images.split(sizes):
        method.step(batch)
    assert updates == [6, 12, 18, 24]


def test_one_update_of_student_teacher_and_statistics():
    options = {"memory_size": 40, "update_interval": 8, "teacher_decay": 0.75}
    sgd = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.0}
    rotta, naive = (make("rotta", "batch_norm", **options, **sgd) for _ in range(2))
    start, source = parameters(naive), [tensor.clone() for tensor in naive.statistics]
    naive.bank.insert(IMAGES, naive.predict(IMAGES))
    stored = naive.bank.occupied_slots()
    weights = torch.exp(-naive.bank.age[stored] / 40)
    view = naive.augment(naive.bank.images[stored], torch.Generator().manual_seed(2))
    for layer in naive.layers:
        layer.follow = True
    targets = naive.teacher(naive.bank.images[stored]).detach()
    losses = soft_cross_entropy(naive.backbone(view), targets)
    loss = (weights / (1 + weights) * losses).mean()
    gradient = flat(torch.autograd.grad(loss, naive.parameters))

    rotta.step(IMAGES)
    assert len(stored) > 4
    torch.testing.assert_close(parameters(rotta), start - 0.1 * gradient, atol=1e-6, rtol=1e-3)
    moved = 0.75 * start + 0.25 * parameters(rotta)
    torch.testing.assert_close(flat(rotta.teacher_parameters), moved)
    torch.testing.assert_close(flat(rotta.statistics), flat(naive.statistics))
    half = len(source) // 2
    assert not torch.equal(flat(rotta.statistics[:half]), flat(rotta.statistics[half:]))
    assert not torch.equal(flat(rotta.statistics[half:]), flat(source[half:]))


def test_statistics_of_the_first_layer_move_to_the_biased_ones_of_the_bank():
    rotta = make("rotta", "batch_norm", memory_size=20, update_interval=8)
    first = next(module for module in rotta.teacher.modules() if module in rotta.layers)
    before = first.running_var.clone()
    seen = []
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    rotta.step(IMAGES)
    batch = seen[1].var((0, 2, 3), correction=0)
    torch.testing.assert_close(first.running_var, 0.95 * before + 0.05 * batch)


def test_images_that_are_not_numbers_leave_everything_alone():
    rotta = make("rotta", "batch_norm", memory_size=8, update_interval=8)
    start = parameters(rotta)
    rotta.step(torch.full_like(IMAGES, torch.nan))
    assert torch.equal(parameters(rotta), start)
    assert torch.isfinite(rotta.step(IMAGES)).all()
    assert torch.isfinite(parameters(rotta)).all()


def test_only_affine_parameters_of_norm_layers_are_trained():
    rotta = make("rotta", "batch_norm")
    norms = [m for m in rotta.backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert len(rotta.parameters) == 2 * len(norms)
    assert not any(parameter.requires_grad for parameter in rotta.teacher.parameters())
