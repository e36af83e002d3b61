import torch

from tta.ops.prior_correction import correct_prior, smoothed_prior

LOGITS = torch.tensor([[2.0, 0, -1], [0, 1, 0.5], [1, 1, 1]])


def test_golden_smoothed_prior():
    expected = torch.tensor([0.371189, 0.328543, 0.300268])
    torch.testing.assert_close(smoothed_prior(LOGITS), expected, atol=1e-6, rtol=0)


def test_logits_are_scaled_by_the_prior():
    torch.testing.assert_close(correct_prior(LOGITS)[2], 3 * smoothed_prior(LOGITS))


def test_a_uniform_prior_changes_nothing():
    balanced = torch.tensor([[2.0, 0, -1], [-1, 2, 0], [0, -1, 2]])
    torch.testing.assert_close(correct_prior(balanced), balanced)


def test_a_row_that_is_not_finite_does_not_count():
    holed = torch.cat([LOGITS, torch.tensor([[0.0, torch.nan, 1.0]])])
    without = smoothed_prior(LOGITS)
    torch.testing.assert_close(smoothed_prior(holed), without)
    assert correct_prior(holed)[:3].isfinite().all()


def test_a_lone_sample_has_a_prior_nearer_to_uniform_than_its_prediction():
    prior = smoothed_prior(LOGITS[:1])
    assert prior.max() < LOGITS[:1].softmax(1).max()
    torch.testing.assert_close(prior.sum(), torch.tensor(1.0))
