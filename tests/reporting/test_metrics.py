import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss, mean_squared_error

from tta.tasks.calibration import expected_calibration_error
from tta.tasks.metrics import sample_metrics

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5], [1.0, 1.0, 1.0]])
LABELS = torch.tensor([0, 2, 1])


def test_metrics_of_logits():
    p = LOGITS.softmax(1)
    correct, confidence, nll, brier = sample_metrics(LOGITS, LABELS, "logits")
    assert correct.tolist() == [1.0, 0.0, 0.0]
    torch.testing.assert_close(confidence, p.max(1).values)
    torch.testing.assert_close(
        nll, torch.nn.functional.cross_entropy(LOGITS, LABELS, reduction="none")
    )
    one_hot = torch.nn.functional.one_hot(LABELS, 3)
    torch.testing.assert_close(brier, (p - one_hot).square().sum(1))


def test_probabilities_are_not_softmaxed_again_and_sums_are_halved():
    expected = sample_metrics(LOGITS, LABELS, "logits")
    torch.testing.assert_close(sample_metrics(LOGITS.softmax(1), LABELS, "probabilities"), expected)
    torch.testing.assert_close(sample_metrics(2 * LOGITS, LABELS, "logit_sum"), expected)


def test_certain_and_wrong_is_finite():
    metrics = sample_metrics(torch.tensor([[1.0, 0.0]]), torch.tensor([1]), "probabilities")
    assert torch.isfinite(metrics).all()


def test_calibration_against_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(500, 4, generator=generator)
    labels = torch.randint(4, (500,), generator=generator)
    correct, confidence, nll, brier = sample_metrics(logits, labels, "logits").numpy()
    share, mean = calibration_curve(correct, confidence, n_bins=15)
    counts, _ = np.histogram(confidence, bins=15, range=(0, 1))
    expected = (np.abs(share - mean) * counts[counts > 0]).sum() / 500
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected, abs=1e-6)
    p = logits.softmax(1).numpy()
    assert nll.mean() == pytest.approx(log_loss(labels, p, labels=range(4)), abs=1e-5)
    squares = mean_squared_error(np.eye(4)[labels], p)
    assert brier.mean() == pytest.approx(4 * squares, abs=1e-5)


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.55, 1.0])
    correct = np.array([1.0, 0.0, 1.0, 1.0])
    # Bins of width 1/15: {.95, .95, 1.0} -> |2/3 - .9667| * 3/4 and {.55} -> .45 * 1/4.
    expected = abs(2 / 3 - 2.9 / 3) * 0.75 + 0.45 * 0.25
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["logits", "logit_sum"])
@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
def test_a_sample_is_judged_alike_in_any_company(kind, classes):
    """Batches are judged together, as many as there are between two looks at the device."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(70, classes, generator=generator)
    labels = torch.randint(classes, (70,), generator=generator)
    together = sample_metrics(logits, labels, kind)
    for sizes in ([1] * 70, [7, 1, 30, 32], [64, 6]):
        parts = zip(logits.split(sizes), labels.split(sizes), strict=True)
        apart = [sample_metrics(rows, expected, kind) for rows, expected in parts]
        assert torch.equal(torch.cat(apart, 1), together)
