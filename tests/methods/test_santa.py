"""SANTA's step against its definition; the contrastive term has a test of its own."""

import torch

from tests.methods.selective import IMAGES, make, parameters
from tta.ops.losses import soft_cross_entropy

SGD = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.0, "nesterov": False}
Z = torch.tensor([[2, 0, -1], [0, 1, 0.5], [1, 1, 1]])
T = torch.tensor([[1, 0, 0], [0, 3, 0], [0.5, 0, -0.5]])


def test_golden_anchored_loss():
    """The anchor is Z, the student T on x and Z on T(x): CE(T -> Z) and the entropy of Z."""
    santa = make("santa")
    santa.backbone.head = lambda features: features
    expected = (1.229554 + 0.524267 + 0.748187 + 1.020191 + 1.098612 + 1.098612) / 6
    torch.testing.assert_close(santa._anchored(T, Z, Z), torch.tensor(expected))


def test_one_step_is_the_gradient_through_the_student_alone():
    santa, naive = (make("santa", lambda_contrastive=0.0, **SGD) for _ in range(2))
    view = naive.augment(IMAGES, naive.generator)
    anchor = naive.anchor(IMAGES).log_softmax(1)
    both = naive.backbone(IMAGES).softmax(1) + naive.backbone(view).softmax(1)
    loss = -0.5 * (both * anchor).sum(1).mean()
    affine = naive.parameters[:-4]  # without the projector
    gradients = torch.autograd.grad(loss, affine)
    start = parameters(naive)
    step = torch.cat([gradient.flatten() for gradient in gradients])
    santa.step(IMAGES)
    expected = start.clone()
    expected[: len(step)] -= 0.1 * step
    assert step.abs().sum() > 0
    torch.testing.assert_close(parameters(santa), expected, atol=1e-6, rtol=1e-5)


def test_the_anchor_stays_and_the_projector_learns():
    santa = make("santa", "batch_norm")
    anchored, projector = santa.anchor(IMAGES), santa.projector[0].weight.detach().clone()
    before = santa.predict(IMAGES)
    torch.testing.assert_close(santa.step(IMAGES), before)
    assert torch.equal(santa.anchor(IMAGES), anchored)
    assert not torch.equal(santa.predict(IMAGES), before)
    assert not torch.equal(santa.projector[0].weight, projector)


def test_minimising_the_anchored_loss_leads_to_the_anchors_class():
    logits = torch.zeros(3, 3, requires_grad=True)
    soft_cross_entropy(Z, logits).sum().backward()
    assert logits.grad.argmin(1).tolist()[:2] == Z.argmax(1).tolist()[:2]
