"""CoTTA's step against its definition, part by part."""

import pytest
import torch

from tests.fakes import make_source
from tests.methods.selective import IMAGES, make, parameters
from tta.methods.base import make_optimizer
from tta.ops.losses import soft_cross_entropy, symmetric_cross_entropy

SGD = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.0, "teacher_decay": 0.75}


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


@pytest.mark.parametrize("symmetric", [False, True])
def test_one_step_of_student_and_teacher(symmetric):
    options = {"confidence_threshold": 0.0, "restore_rate": 0.0, "symmetric": symmetric, **SGD}
    cotta, naive = make("cotta", **options), make("cotta", **options)
    start = parameters(naive)
    targets = naive.teacher(IMAGES).detach()
    loss_of = symmetric_cross_entropy if symmetric else soft_cross_entropy
    loss = loss_of(naive.backbone(IMAGES), targets).mean()
    gradient = flat(torch.autograd.grad(loss, naive.parameters))
    torch.testing.assert_close(cotta.step(IMAGES), targets)
    torch.testing.assert_close(parameters(cotta), start - 0.1 * gradient, atol=1e-6, rtol=1e-4)
    moved = 0.75 * start + 0.25 * parameters(cotta)
    torch.testing.assert_close(flat(cotta.teacher_parameters), moved)


def test_views_are_averaged_where_the_source_is_not_confident():
    cotta = make("cotta", confidence_threshold=1.0, views=3)
    generator = torch.Generator().manual_seed(2)
    views = [cotta.teacher(cotta.augment(IMAGES, generator)) for _ in range(3)]
    torch.testing.assert_close(cotta.step(IMAGES), torch.stack(views).mean(0))


def test_the_source_models_confidence_decides_and_not_the_students():
    cotta = make("cotta", confidence_threshold=0.9, views=1)
    teacher = cotta.teacher(IMAGES).detach()
    with torch.no_grad():
        for model in (cotta.backbone, cotta.teacher):
            model.classifier.weight.mul_(1e4)
    assert not torch.allclose(cotta.step(IMAGES), cotta.teacher(IMAGES))
    with torch.no_grad():
        cotta.anchor.classifier.weight.mul_(1e4)
    expected = cotta.teacher(IMAGES)
    torch.testing.assert_close(cotta.step(IMAGES), expected)
    assert not torch.allclose(expected, teacher)


def test_weights_return_to_the_source_after_the_teacher_has_moved():
    cotta = make("cotta", confidence_threshold=0.0, restore_rate=1.0, **SGD)
    start = parameters(cotta)
    cotta.step(IMAGES)
    assert torch.equal(parameters(cotta), start)
    assert not torch.equal(flat(cotta.teacher_parameters), start)


def test_without_a_threshold_it_is_taken_from_source_images():
    cotta = make("cotta", confidence_threshold=None)
    batches = [cotta.anchor(images) for images, _ in make_source().one_pass()]
    confidences = torch.cat(batches).softmax(1).amax(1)
    torch.testing.assert_close(cotta.threshold, confidences.quantile(0.05) - 0.05)
    assert make("cotta").threshold.item() == pytest.approx(0.92)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_after_an_interval_the_optimiser_starts_anew_and_weights_stay(optimizer):
    options = {"confidence_threshold": 0.0, "restore_rate": 0.0, "optimizer": optimizer}
    size = len(IMAGES)
    restarted = make("cotta", restart_interval=2 * size, **options)
    going_on = make("cotta", **options)
    for _ in range(2):
        restarted.step(IMAGES), going_on.step(IMAGES)
    assert torch.equal(parameters(restarted), parameters(going_on))
    anew = make_optimizer(going_on.parameters, going_on.params)
    saved = restarted.state_dict()
    restarted.step(IMAGES)
    going_on.optimizer = anew
    going_on.step(IMAGES)
    assert torch.equal(parameters(restarted), parameters(going_on))
    after = restarted.state_dict()
    restarted.reset()
    assert restarted.since_restart == 0
    restarted.load_state_dict(saved)  # at the end of an interval
    restarted.step(IMAGES)
    assert torch.equal(flat(after["parameters"]), parameters(restarted))
    assert restarted.since_restart == size


def test_without_an_interval_the_optimiser_goes_on():
    cotta = make("cotta", confidence_threshold=0.0)
    for _ in range(3):
        cotta.step(IMAGES)
    assert {int(state["step"]) for state in cotta.optimizer.state.values()} == {3}
