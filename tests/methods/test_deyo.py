"""DeYO's selection and weights, written out."""

import math

import torch

from tests.methods.selective import IMAGES, between_entropies, make, parameters
from tta.ops.views.augment import shuffle_patches

OPTIONS = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.0, "nesterov": False, "frozen_share": 0.0}


def test_one_step_is_the_weighted_entropy_of_what_passes_both_tests():
    margin = between_entropies(make("tent"), 6)
    deyo, naive = (make("deyo", margin=margin, plpd_margin=0.0, **OPTIONS) for _ in range(2))
    logits = naive.backbone(IMAGES)
    p = logits.softmax(1)
    entropies = -(p * p.log()).sum(1)
    reliable = [i for i in range(len(IMAGES)) if entropies[i] < naive.margin]
    destroyed = shuffle_patches(IMAGES[reliable], naive.generator)
    terms = []
    for i, q in zip(reliable, naive.backbone(destroyed).softmax(1), strict=True):
        plpd = (p[i].max() - q[p[i].argmax()]).item()
        if plpd > 0:
            weight = math.exp(naive.weight_margin - entropies[i].item()) + math.exp(plpd)
            terms.append(weight * entropies[i])
    assert 0 < len(terms) < len(reliable) == 6
    gradients = torch.autograd.grad(sum(terms) / len(terms), naive.parameters)
    expected = parameters(naive) - 0.1 * torch.cat([part.flatten() for part in gradients])
    deyo.step(IMAGES)
    torch.testing.assert_close(parameters(deyo), expected, atol=1e-6, rtol=1e-4)


def test_nothing_selected_moves_nothing_although_adam_has_momentum():
    deyo = make("deyo", margin=9.0, plpd_margin=-1.0)
    deyo.step(IMAGES)
    moved = parameters(deyo)
    for name in ("margin", "params"):
        value = 0.0 if name == "margin" else deyo.Params(plpd_margin=1.0)
        kept = getattr(deyo, name)
        setattr(deyo, name, value)
        deyo.step(IMAGES)
        setattr(deyo, name, kept)
        assert torch.equal(parameters(deyo), moved)
