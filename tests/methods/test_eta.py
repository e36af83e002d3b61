"""ETA and its weights, against the loss written out for the samples that pass."""

import math

import pytest
import torch

from tests.methods.selective import IMAGES, between_entropies, make, parameters


@pytest.mark.parametrize("loss", ["entropy", "come"])
def test_tent_and_eta_without_thresholds_differ_in_the_weights_alone(loss):
    eta = make("eta", margin=9.0, redundancy_margin=2.0, loss=loss)
    reference = make("tent", loss=loss)
    uncertainty = reference.uncertainty(reference.backbone(IMAGES))
    expected = ((eta.margin - uncertainty.detach()).exp() * uncertainty).mean()
    selected = torch.ones(len(IMAGES), dtype=torch.bool)
    torch.testing.assert_close(eta.objective(uncertainty, selected), expected)


def test_one_step_is_the_gradient_of_the_samples_that_pass():
    margin = between_entropies(make("tent"), 5)
    options = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.0, "nesterov": False}
    eta = make("eta", margin=margin, redundancy_margin=2.0, **options)
    naive = make("tent", **options)
    entropies = naive.uncertainty(naive.backbone(IMAGES))
    passing = entropies[entropies < eta.margin]
    assert len(passing) == 5
    loss = sum(math.exp(eta.margin - value.item()) * value for value in passing) / 5
    gradients = torch.autograd.grad(loss, naive.parameters)
    expected = parameters(naive) - 0.1 * torch.cat([part.flatten() for part in gradients])
    eta.step(IMAGES)
    torch.testing.assert_close(parameters(eta), expected, atol=1e-6, rtol=1e-5)


def test_the_second_batch_must_differ_from_the_mean_prediction():
    eta = make("eta", margin=9.0, redundancy_margin=0.0)
    eta.step(IMAGES)
    after_first, mean = parameters(eta), eta.mean_probabilities.clone()
    eta.step(IMAGES)
    assert torch.equal(parameters(eta), after_first)
    assert torch.equal(eta.mean_probabilities, mean)


def test_nothing_selected_moves_nothing_although_adam_has_momentum():
    eta = make("eta", margin=9.0, redundancy_margin=2.0)
    eta.step(IMAGES)
    moved, eta.margin = parameters(eta), 0.0
    eta.step(IMAGES)
    assert torch.equal(parameters(eta), moved)
