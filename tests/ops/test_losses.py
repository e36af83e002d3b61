"""Golden vectors, computed independently, and identities."""

import torch

from tta.ops.losses import entropy, soft_cross_entropy, symmetric_cross_entropy

STUDENT = torch.tensor([[2, 0, -1], [0, 1, 0.5], [1, 1, 1]])
TEACHER = torch.tensor([[1, 0, 0], [0, 3, 0], [0.5, 0, -0.5]])


def assert_near(values, expected):
    torch.testing.assert_close(values, torch.tensor(expected), rtol=0, atol=1e-6)


def test_golden_entropy():
    assert_near(entropy(STUDENT), [0.524267, 1.020191, 1.098612])


def test_golden_cross_entropy():
    assert_near(soft_cross_entropy(STUDENT, TEACHER), [1.229554, 0.748187, 1.098612])


def test_golden_symmetric_cross_entropy():
    assert_near(symmetric_cross_entropy(STUDENT, TEACHER), [0.968602, 1.161835, 1.139441])


def test_cross_entropy_with_itself_is_entropy():
    torch.testing.assert_close(symmetric_cross_entropy(STUDENT, STUDENT), entropy(STUDENT))


def test_extreme_logits_are_finite():
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = entropy(logits).sum() + symmetric_cross_entropy(logits, -logits.detach()).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
