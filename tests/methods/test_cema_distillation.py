import math

import pytest
import torch

from tta.methods.cema_distillation import distillation_terms, weighted_entropy

STUDENT = torch.tensor([[2.0, 0, -1], [0, 1, 0.5], [1, 1, 1]], dtype=torch.float64)
TEACHER = torch.tensor([[1.0, 0, 0], [0, 3, 0], [0.5, 0, -0.5]], dtype=torch.float64)
MARGIN = 0.4 * math.log(3)


def test_golden_vectors():
    terms = distillation_terms(STUDENT, TEACHER, MARGIN)
    assert terms == pytest.approx((0.540234, 0.201022, 0.481905), abs=1e-6)
    total = 3 * terms.entropy + 3 * terms.kl + terms.cross_entropy
    assert total.item() == pytest.approx(2.705672, abs=1e-6)


def test_temperature_softens_the_divergence_alone():
    cold, warm = (distillation_terms(STUDENT, TEACHER, MARGIN, t) for t in (1.0, 2.0))
    p, q = ((logits / 2).softmax(1) for logits in (TEACHER, STUDENT))
    h = -(TEACHER.softmax(1) * TEACHER.log_softmax(1)).sum(1)
    expected = ((MARGIN - h).exp() * 4 * (p * (p / q).log()).sum(1)).mean()
    torch.testing.assert_close(warm.kl, expected)
    assert (warm.entropy, warm.cross_entropy) == (cold.entropy, cold.cross_entropy)


def test_gradients_reach_the_student_alone_and_not_its_weight():
    student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    terms = distillation_terms(student, teacher, MARGIN)
    sum(terms).backward()
    assert teacher.grad is None
    student.grad = None
    weighted_entropy(student, MARGIN).backward()
    logits = STUDENT.clone().requires_grad_()
    h = -(logits.softmax(1) * logits.log_softmax(1)).sum(1)
    weight = (MARGIN - h.detach()).exp()
    (weight * h).mean().backward()
    torch.testing.assert_close(student.grad, logits.grad)
