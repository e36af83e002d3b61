"""PALM: the worked example, its rates, and steps against the published loop."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.fakes import make_images
from tests.methods.selective import IMAGES, make, parameters
from tta.backbones.compilation import Compilation
from tta.methods.palm_rates import Rates, move
from tta.ops.losses import entropy, soft_cross_entropy

LOGITS = torch.tensor([[2.0, 0, -1], [0, 1, 0.5], [3, 0, 0]])
VIEW = torch.tensor([[1, 0.5, -0.5], [0.2, 0.8, 0.5], [2, 0.5, 0]])


def test_the_worked_example():
    palm = make("palm")
    certain = entropy(LOGITS) < palm.params.margin
    assert certain.tolist() == [False, False, True]
    assert entropy(LOGITS)[2].item() == pytest.approx(0.366594, abs=1e-6)
    assert soft_cross_entropy(VIEW, LOGITS).mean().item() == pytest.approx(0.740472, abs=1e-6)
    assert palm._loss(LOGITS, VIEW, certain).item() == pytest.approx(0.388808, abs=1e-6)
    assert palm._certainty(LOGITS).item() == pytest.approx(3.296585, abs=1e-6)


def test_rates_follow_the_change_of_sensitivity():
    weights = [torch.tensor([1.0, -2.0]), torch.tensor([3.0]), torch.tensor([1.0])]
    rates = Rates(weights, largest_score=1.0, decay=0.25)
    rates.update([torch.tensor([0.2, 0.5]), torch.tensor([2.0]), torch.tensor([torch.nan])])
    # |w g| = .2, 1 -> mean .15, .75, change .05, .25
    torch.testing.assert_close(rates.of_tensors, torch.tensor([1 / 3, 0, 0]))
    torch.testing.assert_close(rates.sensitivity[0], torch.tensor([0.15, 0.75]))
    assert rates.sensitivity[1].item() == rates.sensitivity[2].item() == 0
    rates.update([torch.tensor([0.2, 0.9]), torch.tensor([0.1]), torch.tensor([0.5])])
    # the first is selected no longer and keeps its rate; the others start
    torch.testing.assert_close(rates.of_tensors, torch.full((3,), 1 / 3))
    torch.testing.assert_close(rates.sensitivity[0], torch.tensor([0.15, 0.75]))
    rates.update([torch.tensor([0.1, 0.0]), torch.tensor([0.1]), torch.tensor([9.0])])
    # |w g| = .1, 0 -> mean .1125, .1875, change .0125, .1875; .3 -> mean .28125, change .01875
    torch.testing.assert_close(rates.of_tensors, torch.tensor([(1 / 9 + 1) / 2, 1 / 15, 1 / 3]))


def test_tensors_without_a_rate_stay_to_the_bit():
    now = [torch.tensor([1.0, 2]), torch.tensor([torch.nan])]
    move(now, [torch.tensor([0.0, 1]), torch.tensor([0.3])], torch.tensor([0.5, 0.0]))
    assert now[0].tolist() == [0.5, 1.5]
    assert torch.equal(now[1], torch.tensor([0.3]))


def test_norm_layers_and_convolutions_are_trained():
    palm = make("palm", "batch_norm")
    kinds = (nn.modules.batchnorm._BatchNorm, nn.Conv2d)
    own = {p for m in palm.backbone.modules() if isinstance(m, kinds) for p in m.parameters(False)}
    assert set(palm.parameters) == own
    assert not any(parameter.requires_grad for parameter in palm.backbone.classifier.parameters())


def published(method, steps, generator):
    """The published loop in plain words: one Adam a batch, a group per tensor."""
    params = method.params
    mean, rate = [0.0] * len(method.parameters), [0.0] * len(method.parameters)
    for images in steps:
        logits = method.backbone(images)
        view = method.backbone(method.augment(images, generator))
        uniform = -(logits / params.temperature).log_softmax(1).sum(1).mean()
        gradients = torch.autograd.grad(uniform, method.parameters, retain_graph=True)
        for n, (weight, gradient) in enumerate(zip(method.parameters, gradients, strict=True)):
            if gradient.abs().sum() <= params.largest_score:
                now = (weight.detach() * gradient).abs()
                mean[n] = params.sensitivity_decay * mean[n] + (1 - params.sensitivity_decay) * now
                change = (now - mean[n]).abs()
                rate[n] = ((change + 1e-8) / (mean[n] + 1e-8)).mean().item()
        groups = [
            {"params": [weight], "lr": params.lr * factor}
            for weight, factor in zip(method.parameters, rate, strict=True)
        ]
        optimizer = torch.optim.Adam(groups, weight_decay=params.weight_decay)
        sure = entropy(logits) < params.margin
        loss = entropy(logits)[sure].mean()
        weight = params.consistency_weight * logits.shape[1]
        loss = loss + weight * soft_cross_entropy(view, logits).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return rate


def in_float64(kind, **options):
    """A method whose gradients that are zero but for rounding move nothing: Adam adds 1e-8."""
    made = make("palm", kind, **options)
    made.backbone.double()
    made.rates = Rates(made.parameters, made.params.largest_score, made.params.sensitivity_decay)
    return made


@pytest.mark.parametrize("kind", ["batch_norm", "layer_norm"])
@pytest.mark.parametrize("weight_decay", [0.0, 5e-4])
def test_steps_are_those_of_the_published_loop(kind, weight_decay):
    options = {"largest_score": 0.02, "margin": 1.0, "lr": 1e-3, "weight_decay": weight_decay}
    options |= {"sensitivity_decay": 0.3, "consistency_weight": 0.5}
    ours, theirs = (in_float64(kind, **options) for _ in range(2))
    batches = [make_images(8, seed).double() for seed in range(4)]
    rates = published(theirs, batches, torch.Generator().manual_seed(2))
    assert 0 < sum(rate > 0 for rate in rates) < len(rates)
    for images in batches:
        ours.step(images)
    torch.testing.assert_close(ours.rates.of_tensors, torch.tensor(rates).double())
    torch.testing.assert_close(parameters(ours), parameters(theirs))


def test_where_nothing_is_certain_nothing_moves():
    palm = make("palm", "batch_norm", margin=0.0, largest_score=1e6)
    start = parameters(palm)
    palm.step(IMAGES)
    assert torch.equal(parameters(palm), start)
    assert (palm.rates.of_tensors > 0).all()


def test_images_that_are_not_numbers_leave_everything_alone():
    palm = make("palm", "batch_norm", margin=9.0, largest_score=1e6)
    start = parameters(palm)
    palm.step(torch.full_like(IMAGES, torch.nan))
    assert torch.equal(parameters(palm), start)
    assert not palm.rates.of_tensors.any()
    assert torch.isfinite(palm.step(IMAGES)).all()
    assert not torch.equal(parameters(palm), start)


@pytest.mark.parametrize("kind", ["batch_norm", "layer_norm"])
def test_one_image_that_is_not_numbers_leaves_everything_alone(kind):
    palm = make("palm", kind, margin=9.0, largest_score=1e6)
    palm.step(IMAGES)
    before, rates = parameters(palm), copy.deepcopy(palm.rates.state_dict())
    spoilt = IMAGES.clone()
    spoilt[2] = torch.nan
    palm.step(spoilt)
    assert torch.equal(parameters(palm), before)
    torch.testing.assert_close(palm.rates.state_dict(), rates, atol=0, rtol=0)
    assert palm.predict(IMAGES).isfinite().all()
    assert palm.step(IMAGES).isfinite().all()
    assert not torch.equal(parameters(palm), before)
    assert parameters(palm).isfinite().all()


def test_nothing_of_the_optimiser_is_left_for_the_next_batch():
    palm = make("palm", "batch_norm", margin=9.0, largest_score=1e6)
    palm.step(IMAGES)
    assert not palm.optimizer.state


def test_compiled_code_that_frees_its_graph_is_run_once_more():
    plain, compiled = (in_float64("batch_norm", margin=9.0) for _ in range(2))
    compiled.backbone.compilation = Compilation("default", {8}, "aot_eager")
    for seed in range(2):
        images, passes = make_images(8, seed).double(), plain.backbone.passes
        passes.take()
        expected = plain.step(images), passes.take()
        found = compiled.step(images), passes.take()
        torch.testing.assert_close(found[0], expected[0])
        assert (found[1][0], expected[1][0]) == (3 * 8, 2 * 8)
    torch.testing.assert_close(parameters(plain), parameters(compiled))
