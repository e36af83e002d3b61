"""UniEnt's mixture, its losses and what it is composed with."""

import numpy as np
import pytest
import torch

from tests.methods.selective import IMAGES, make, parameters
from tests.methods.test_ostta import ADAPTED
from tta.methods import unient
from tta.methods.unient_mixture import posterior_of_lower, unlikeness
from tta.ops.losses import entropy, marginal_entropy

COSINES = torch.tensor([0.82, 0.78, 0.74, 0.80, 0.35, 0.30, 0.42, 0.27])
KNOWN = [1, 1, 1, 1, 0, 0, 0, 0]
LOSSES = {
    ("unient", 0.5, 0.2): 0.027436,
    ("unient_plus", 0.5, 0.2): -0.234537,
}


def scores():
    rows = torch.eye(2)
    features = torch.stack([COSINES, -(1 - COSINES**2).sqrt()], 1)
    return unlikeness(3.0 * features, 7.0 * rows)


def test_the_worked_example_of_the_mixture():
    expected = [0, 0.072727, 0.145455, 0.036364, 0.854545, 0.945455, 0.727273, 1]
    found = scores()
    torch.testing.assert_close(found, torch.tensor(expected), atol=2e-6, rtol=0)
    for seed in range(5):  # the components come in any order
        np.testing.assert_allclose(posterior_of_lower(found.numpy(), seed), KNOWN, atol=1e-4)


@pytest.mark.parametrize("criterion", ["unient", "unient_plus"])
@pytest.mark.parametrize("base", ["tent", "eata", "ostta"])
def test_the_worked_example_of_the_losses(criterion, base, monkeypatch):
    """With everything kept, EATA's form weighs entropies and OSTTA's is Tent's."""
    wide = {"margin": 9.0, "redundancy_margin": 2.0, "fisher_samples": 2}
    method = make("unient", criterion=criterion, base=base, unknown_weight=0.2, **wide)
    losses = []
    monkeypatch.setattr(unient, "descend", lambda optimizer, loss: losses.append(loss.item()))
    logits = torch.nn.functional.pad(ADAPTED, (0, 2), value=-torch.inf).nan_to_num(neginf=-80.0)
    monkeypatch.setattr(method.backbone, "forward", lambda images: logits)
    monkeypatch.setattr(unient, "unlikeness", lambda features, rows: scores())
    monkeypatch.setattr(unient, "not_less_sure", lambda own, source: torch.ones(8).bool())
    method.step(IMAGES)
    h, known = entropy(ADAPTED), torch.tensor(KNOWN).bool()
    uncertain = h if criterion == "unient" else h * known
    weighted = uncertain * (method.margin - uncertain).exp() if base == "eata" else uncertain
    if criterion == "unient":
        expected = weighted[known].mean() - 0.2 * h[~known].mean()
    else:
        expected = weighted.mean() - 0.2 * (h * ~known).mean()
    expected = (expected - 0.5 * marginal_entropy(ADAPTED)).item()
    assert losses == [pytest.approx(expected, abs=2e-4)]
    if base != "eata":
        assert losses == [pytest.approx(LOSSES[criterion, 0.5, 0.2], abs=2e-4)]


def test_without_unknown_samples_and_mean_it_is_its_base(monkeypatch):
    monkeypatch.setattr(unient, "unlikeness", lambda features, rows: torch.zeros(len(features)))
    plain = {"unknown_weight": 0.0, "marginal_weight": 0.0}
    for base in ("tent", "eata"):
        selected = {"margin": 9.0, "redundancy_margin": 2.0, "fisher_samples": 4}
        shared = {"lr": 0.05, **(selected if base == "eata" else {})}
        ours, theirs = make("unient", base=base, **plain, **shared), make(base, **shared)
        for _ in range(3):
            torch.testing.assert_close(ours.step(IMAGES), theirs.step(IMAGES))
        torch.testing.assert_close(parameters(ours), parameters(theirs))
    ours = make("unient", base="ostta", unknown_weight=0.0, lr=0.05)
    ostta = make("ostta", lr=0.05)
    for _ in range(3):
        torch.testing.assert_close(ours.step(IMAGES), ostta.step(IMAGES))


def test_only_the_base_of_eata_asks_for_source_images():
    kind = type(make("unient"))
    wants = {
        base: "source_at_prepare" in kind.needs(kind.Params(base=base))
        for base in ("tent", "eata", "ostta")
    }
    assert wants == {"tent": False, "eata": True, "ostta": False}


def test_what_nothing_tells_apart_is_known():
    assert posterior_of_lower(np.full(4, 0.5, np.float32), 0).tolist() == [1, 1, 1, 1]
    rows = torch.eye(2)
    assert unlikeness(torch.ones(3, 2), rows).tolist() == [0, 0, 0]
    assert unlikeness(torch.zeros(3, 2), rows).tolist() == [0, 0, 0]
    found = unlikeness(torch.tensor([[1.0, 0], [torch.nan, 1], [1, 1]]), rows)
    assert found.tolist() == [0, 1, 1]


def test_two_images_and_equal_ones_are_sorted_without_a_warning(recwarn):
    for values in ([0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 1e-7, 1.0]):
        found = posterior_of_lower(np.array(values, np.float32), 0)
        assert found[0] > 0.5 > found[-1]
    assert not recwarn.list
