"""Adaptive smoothing against its formula, and what chooses its share of the robust model."""

from __future__ import annotations

import math

import pytest
import torch

from tests.fakes import NUM_CLASSES, make_backbone, make_images, make_source
from tta.foundation.errors import UserError
from tta.methods import METHODS, Need
from tta.methods.adaptive_smoothing import AdaptiveSmoothing, mixed
from tta.methods.adaptive_smoothing_policy import confidences, noisy
from tta.methods.requirements import check_needs
from tta.ops.losses import entropy

STANDARD = torch.tensor([[2.0, 0.0, -1.0]]).log_softmax(1)
ROBUST = torch.tensor([[0.5, 1.0, 0.2]]).log_softmax(1)
IMAGES = make_images(6, seed=5)


def drawn(seed, kind="batch_norm", size=1.0):
    backbone = make_backbone(kind)
    with torch.no_grad():
        weight = backbone.classifier.weight
        weight.copy_(
            size * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
        )
    return backbone


def make(kind="batch_norm", **params):
    made = AdaptiveSmoothing(drawn(1, kind), AdaptiveSmoothing.Params(**params), seed=2)
    made.attach_model(drawn(2, kind))
    made.start(make_source())
    return made


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        (0.0, (-0.169846, -2.169846, -3.169846)),
        (0.5, (-0.563155, -1.202957, -2.038030)),
        (0.9, (-1.050101, -0.800304, -1.604923)),
    ],
)
def test_mixtures_of_three_classes(alpha, expected):
    found = mixed(STANDARD, ROBUST, torch.tensor(alpha))
    torch.testing.assert_close(found, torch.tensor([expected]), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.log_softmax(1), found)


def test_the_default_share_is_that_of_the_paper():
    assert AdaptiveSmoothing.Params().alpha == pytest.approx(1 / (1 + math.exp(-2.5)), abs=1e-7)


@torch.no_grad()
def test_outputs_are_those_of_both_models_scaled():
    made = make(alpha=0.3)
    p = 0.7 * (1.2 * made.backbone(IMAGES)).softmax(1)
    p = p + 0.3 * (0.5 * made.robust(IMAGES)).softmax(1)
    torch.testing.assert_close(made.step(IMAGES), p.log())
    assert torch.equal(made.step(IMAGES), made.predict(IMAGES))


@pytest.mark.parametrize(("alpha", "name"), [(0.0, "backbone"), (1.0, "robust")])
@torch.no_grad()
def test_at_the_ends_one_model_is_left(alpha, name):
    made = make(alpha=alpha, standard_scale=1.0, robust_scale=1.0)
    torch.testing.assert_close(made.step(IMAGES), getattr(made, name)(IMAGES).log_softmax(1))


def test_probabilities_that_underflow_leave_finite_outputs():
    far = torch.tensor([[0.0, -400.0, -500.0]])
    assert mixed(far, far, torch.tensor(0.9)).isfinite().all()


@torch.no_grad()
def test_the_surer_mixture_of_a_grid_is_at_one_of_its_ends():
    made = make(policy="entropy", least_alpha=0.1, greatest_alpha=0.9)
    drawn = 2 * torch.randn(2, 40, NUM_CLASSES, generator=torch.Generator().manual_seed(0))
    models = drawn.log_softmax(2).unbind()
    grid = torch.linspace(0.1, 0.9, 41)
    entropies = torch.stack([entropy(mixed(*models, alpha)) for alpha in grid])
    best = grid[entropies.argmin(0)]
    assert {round(value, 3) for value in best.tolist()} == {0.1, 0.9}
    torch.testing.assert_close(made._alpha(*models)[:, 0], best)


def test_confidences_of_even_and_of_sure_predictions():
    even = torch.full((1, NUM_CLASSES), 1 / NUM_CLASSES).log()
    sure = torch.tensor([[0.0, *[-200.0] * (NUM_CLASSES - 1)]])
    found = confidences(even, sure)
    torch.testing.assert_close(found, torch.tensor([[1 / NUM_CLASSES, 1.0, 1.0, 0.0, 1.0]]))


def test_noise_differs_in_strength_and_keeps_the_range():
    grey = torch.full((50, 3, 16, 16), 0.5)
    found = noisy(grey, 0.2, torch.Generator().manual_seed(0))
    strengths = found.flatten(1).std(1)
    assert strengths.max() < 0.22 and strengths.min() < 0.05
    assert found.min() >= 0 and found.max() <= 1


@torch.no_grad()
def test_a_fitted_policy_trusts_the_model_that_is_right():
    shares = []
    for right, wrong in ((1, 30), (30, 1)):
        made = AdaptiveSmoothing(
            drawn(1, size=right),
            AdaptiveSmoothing.Params(policy="fitted", least_alpha=0.0, greatest_alpha=1.0),
        )
        made.attach_model(drawn(2, size=wrong))
        # Labels of random images: the unsure model is right more often than the sure one.
        made.start(make_source())
        shares.append(made._alpha(*made._models(IMAGES)).mean().item())
    assert shares[0] < 0.5 < shares[1]


@torch.no_grad()
def test_a_fitted_share_stays_in_its_range():
    made = make(policy="fitted", least_alpha=0.3, greatest_alpha=0.4)
    assert made.weights.shape == (5,)
    alpha = made._alpha(*made._models(IMAGES))
    assert alpha.shape == (6, 1) and (alpha >= 0.3).all() and (alpha <= 0.4).all()


def test_only_a_fitted_policy_needs_source_images():
    needs = AdaptiveSmoothing.needs
    assert needs(AdaptiveSmoothing.Params()) == {Need.CLOUD_MODEL}
    fitted = needs(AdaptiveSmoothing.Params(policy="fitted"))
    assert fitted == {Need.CLOUD_MODEL, Need.SOURCE_AT_PREPARE, Need.SOURCE_LABELS}


def test_a_range_the_wrong_way_round_is_refused():
    with pytest.raises(UserError, match="least_alpha 0.9 is above greatest_alpha 0.5"):
        make(least_alpha=0.9, greatest_alpha=0.5)


def test_a_second_model_is_asked_for_and_no_cloud():
    params = AdaptiveSmoothing.Params()
    with pytest.raises(UserError, match="second, robust model; pass --cloud-backbone") as refused:
        check_needs(AdaptiveSmoothing, params, make_backbone("batch_norm"), has_source=False)
    assert "in the cloud" not in str(refused.value)
    check_needs(
        AdaptiveSmoothing,
        params,
        make_backbone("batch_norm"),
        has_source=False,
        cloud=make_backbone("layer_norm"),
    )


@torch.no_grad()
def test_images_are_counted_through_both_models():
    made = make()
    made.backbone.passes.take()
    made.step(IMAGES)
    assert made.backbone.passes.take()[0] == 2 * len(IMAGES)


def test_how_known_an_image_looks_is_no_energy():
    made = METHODS["adaptive_smoothing"]
    assert made.score is not METHODS["source"].score
