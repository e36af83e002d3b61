"""COME in place of the entropy of the four methods that take it."""

import math

import pytest
import torch

from tests.methods.selective import IMAGES, make, parameters

PARAMS = {
    "tent": {},
    "eta": {"margin": 9.0, "redundancy_margin": 2.0},
    "eata": {"margin": 9.0, "redundancy_margin": 2.0, "fisher_samples": 2},
    "sar": {"margin": 9.0, "recovery_threshold": 0.0},
}


@pytest.mark.parametrize("name", PARAMS)
def test_it_leads_elsewhere_than_entropy_and_survives_a_lone_image(name):
    entropy, come = (make(name, loss=loss, **PARAMS[name]) for loss in ("entropy", "come"))
    start = parameters(come)
    for method in (entropy, come):
        method.step(IMAGES)
        method.step(IMAGES[:1])
        assert torch.isfinite(method.predict(IMAGES)).all()
    assert not torch.equal(parameters(come), start)
    assert not torch.equal(parameters(come), parameters(entropy))


def test_reliability_is_judged_by_the_same_measure():
    """A prediction may be certain by its softmax and yet rest on little evidence."""
    logits = torch.tensor([[1.6, -9.0, -9.0, -9.0, -9.0]])
    for loss, reliable in (("entropy", True), ("come", False)):
        eta = make("eta", loss=loss)
        assert (eta.uncertainty(logits) < eta.margin).item() == reliable


def test_what_looks_known_is_judged_by_the_largest_belief():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    expected = [math.exp(2) / (math.exp(2) + 1 + math.exp(-1) + 3), 1 / 6]
    for name in PARAMS:
        entropy, come = (make(name, loss=loss, **PARAMS[name]) for loss in ("entropy", "come"))
        torch.testing.assert_close(come.score(logits), torch.tensor(expected))
        torch.testing.assert_close(entropy.score(logits), logits.logsumexp(1))
