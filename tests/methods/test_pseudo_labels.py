"""Pseudo-labelling, its robust variant, and information maximisation."""

import pytest
import torch
import torch.nn.functional as F

from tests.methods.selective import IMAGES, make, parameters
from tta.methods.base import Need
from tta.ops.parameters import norm_affine_parameters

SGD = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.0, "nesterov": False}


def test_pl_is_cross_entropy_on_confident_predictions():
    logits = make("pl").predict(IMAGES)
    threshold = logits.softmax(1).amax(1).median().item()
    pl, naive = (make("pl", threshold=threshold, **SGD) for _ in range(2))
    logits = naive.backbone(IMAGES)
    confident = logits.softmax(1).amax(1) > threshold
    assert 0 < confident.sum() < len(IMAGES)
    loss = F.cross_entropy(logits[confident], logits[confident].argmax(1))
    gradients = torch.autograd.grad(loss, naive.parameters)
    expected = parameters(naive) - 0.1 * torch.cat([part.flatten() for part in gradients])
    pl.step(IMAGES)
    torch.testing.assert_close(parameters(pl), expected, atol=1e-6, rtol=1e-4)


def test_pl_without_a_confident_prediction_changes_nothing():
    pl = make("pl", threshold=1.0)
    start = parameters(pl)
    pl.step(IMAGES)
    assert torch.equal(parameters(pl), start)


def test_rpl_pulls_less_on_doubtful_labels_than_pl():
    rpl = make("rpl")
    logits = torch.tensor([[0.2, 0.0], [3.0, 0.0]], requires_grad=True)
    rpl.loss(logits).backward()
    robust = logits.grad[:, 0] * 2
    p = logits.detach().softmax(1)[:, 0]
    torch.testing.assert_close(robust, -(p**0.8) * (1 - p))


def test_shot_trains_norm_layers_alone_where_it_is_told_to():
    shot = make("shot_im", "batch_norm", trained="norm", lr=0.1)
    assert type(shot).needs(shot.params) == {Need.NORM_AFFINE}
    trained = {id(parameter) for parameter in norm_affine_parameters(shot.backbone)}
    for parameter in shot.backbone.parameters():
        assert parameter.requires_grad == (id(parameter) in trained)
    start = parameters(shot)
    shot.step(IMAGES)
    assert not torch.equal(parameters(shot), start)


@pytest.mark.parametrize("kind", ["batch_norm", "layer_norm"])
def test_shot_trains_everything_but_the_head(kind):
    shot = make("shot_im", kind, lr=0.1)
    head = {id(parameter) for parameter in shot.backbone.classifier.parameters()}
    for parameter in shot.backbone.parameters():
        assert parameter.requires_grad == (id(parameter) not in head)
    first = next(shot.backbone.parameters())
    start = first.detach().clone()
    shot.step(IMAGES)
    assert not torch.equal(first, start)
