"""Golden vectors, computed independently, and identities."""

import torch

from tta.ops.losses import (
    entropy,
    generalized_cross_entropy,
    information_maximization,
    marginal_entropy,
    opinion_entropy,
    soft_cross_entropy,
    soft_likelihood_ratio,
    symmetric_cross_entropy,
)

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


def test_golden_soft_likelihood_ratio():
    assert_near(soft_likelihood_ratio(STUDENT), [-1.057980, 0.511337, 0.693127])


def test_golden_entropy_of_opinions():
    assert_near(opinion_entropy(STUDENT), [0.958433, 1.306981, 1.385353])


def test_entropy_of_opinions_does_not_pull_on_the_norm_of_the_logits():
    logits = STUDENT.clone().requires_grad_()
    opinion_entropy(logits).sum().backward()
    assert logits.grad.norm() > 0.1
    torch.testing.assert_close((logits * logits.grad).sum(1), torch.zeros(3), atol=1e-6, rtol=0)


def test_entropy_of_opinions_of_zero_logits_is_finite():
    logits = torch.zeros(2, 5, requires_grad=True)
    opinion_entropy(logits).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_soft_likelihood_ratio_is_flat_above_the_clip_alone():
    logits = torch.tensor([[3.0, 0.0], [9.0, 0.0]], requires_grad=True)
    soft_likelihood_ratio(logits)[:, None].sum().backward()
    assert logits.grad[0, 0] < -0.1
    assert logits.grad[1].abs().max() < 1e-2


def test_generalized_cross_entropy_lies_between_cross_entropy_and_absolute_error():
    p = STUDENT.softmax(1).amax(1)
    torch.testing.assert_close(generalized_cross_entropy(STUDENT, q=1.0), 1 - p)
    torch.testing.assert_close(
        generalized_cross_entropy(STUDENT, q=1e-4), -p.log(), atol=1e-3, rtol=1e-3
    )
    torch.testing.assert_close(generalized_cross_entropy(STUDENT), (1 - p**0.8) / 0.8)


def test_information_maximization_is_mean_entropy_less_entropy_of_the_mean():
    p = STUDENT.softmax(1)
    expected = entropy(STUDENT).mean() + (p.mean(0) * p.mean(0).log()).sum()
    torch.testing.assert_close(information_maximization(STUDENT), expected)
    assert information_maximization(STUDENT[:1]).abs() < 1e-6


def test_marginal_entropy_is_that_of_the_mean_prediction_and_finite_far_out():
    mean = STUDENT.softmax(1).mean(0)
    expected = -(mean * mean.log()).sum()
    torch.testing.assert_close(marginal_entropy(STUDENT), expected)
    assert torch.isfinite(marginal_entropy(1e4 * STUDENT))
