"""ROID and CMF: the parts that their operations' own tests do not reach."""

import pytest
import torch

from tests.methods.selective import IMAGES, make, parameters
from tta.config import RunConfig
from tta.experiment.assembly import build
from tta.ops.prior_correction import correct_prior


@pytest.mark.parametrize("name", ["roid", "cmf"])
def test_outputs_are_the_models_before_the_update_corrected_by_the_prior(name):
    method = make(name)
    raw = method.backbone(IMAGES).detach()
    torch.testing.assert_close(method.predict(IMAGES), correct_prior(raw))
    torch.testing.assert_close(method.step(IMAGES), correct_prior(raw))
    assert not torch.equal(method.predict(IMAGES), correct_prior(raw))


@pytest.mark.parametrize("name", ["roid", "cmf"])
@torch.no_grad()
def test_an_image_without_a_finite_prediction_leaves_no_trace_in_the_mean(name):
    method = make(name)
    images = IMAGES.clone()
    images[0] = torch.nan
    logits, before = method.backbone(images), method.mean_probabilities.clone()
    assert not logits[0].isfinite().any()
    expected = torch.cat([before[None], logits[1:].softmax(1)]).mean(0)
    assert method._weigh(logits)[0] == 0
    torch.testing.assert_close(method.mean_probabilities, 0.9 * before + 0.1 * expected)


@pytest.mark.parametrize("name", ["roid", "cmf"])
def test_where_nothing_is_finite_nothing_moves(name):
    method = make(name)
    start, mean = parameters(method), method.mean_probabilities.clone()
    method.step(torch.full_like(IMAGES, torch.nan))
    assert torch.equal(parameters(method), start)
    assert torch.equal(method.mean_probabilities, mean)


@pytest.mark.parametrize("name", ["roid", "cmf"])
def test_a_lone_image_adapts_and_stays_finite(name):
    method = make(name)
    start = parameters(method)
    assert torch.isfinite(method.step(IMAGES[:1])).all()
    assert torch.isfinite(parameters(method)).all()
    assert not torch.equal(parameters(method), start)


def test_after_a_step_roid_keeps_a_share_of_what_it_learned():
    whole, kept = make("roid", source_decay=1.0), make("roid", source_decay=0.75)
    start = parameters(whole)
    whole.step(IMAGES)
    kept.step(IMAGES)
    moved = parameters(whole) - start
    torch.testing.assert_close(parameters(kept) - start, 0.75 * moved, atol=1e-6, rtol=1e-4)


def test_a_short_batch_counts_in_full():
    one, two = (make("roid", optimizer="sgd", source_decay=1.0) for _ in range(2))
    start = parameters(one)
    one.step(IMAGES[:4])
    two.step(IMAGES[:4].repeat(2, 1, 1, 1))
    first, second = parameters(one) - start, parameters(two) - start
    torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-2)


@pytest.mark.parametrize("name", ["roid", "cmf"])
@pytest.mark.parametrize(("usual", "factor"), [(1, 8.0), (32, 0.25), (8, 1.0), (None, 1.0)])
def test_compat_divides_the_loss_by_the_usual_batch(name, usual, factor):
    sgd = {"optimizer": "sgd", "lr": 0.01, "momentum": 0.0, "nesterov": False}
    plain, compat = make(name, **sgd), make(name, **sgd, compat=True)
    plain.usual_batch = compat.usual_batch = usual
    start = parameters(plain)
    for method in (plain, compat):
        method.ensemble = lambda: None
        method.step(IMAGES)
    moved = parameters(plain) - start
    assert moved.abs().max() > 1e-4
    torch.testing.assert_close(parameters(compat) - start, factor * moved, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["roid", "cmf"])
def test_compat_does_not_correct_between_the_updates_of_a_window(name):
    compat = make(name, compat=True)
    assert torch.equal(compat.predict(IMAGES), compat.backbone(IMAGES))
    raw = compat.backbone(IMAGES).detach()
    torch.testing.assert_close(compat.step(IMAGES), correct_prior(raw))


@pytest.mark.parametrize(("options", "usual"), [({"window": 4, "batch_size": 1}, 1), ({}, 64)])
def test_a_run_tells_the_method_its_usual_batch(options, usual):
    assert (
        build(RunConfig(method="roid", device="cpu", **options)).adapting_method.usual_batch
        == usual
    )


def test_the_filter_on_a_single_number():
    """Hidden model h, source 0, observation theta, as the recursion is written in the paper."""
    cmf = make("cmf", process_noise=0.9, hidden_weight=0.1)
    for parameter, hidden, source in zip(
        cmf.parameters, cmf.hidden, cmf.source_parameters, strict=True
    ):
        parameter.data.fill_(2.0)
        hidden.fill_(1.0)
        source.fill_(0.0)
    q, h, theta, v = cmf.noise, 1.0, 2.0, 0.0
    assert 0.001 < q < 0.2
    for _ in range(3):
        h, v = 0.99 * h, 0.99**2 * v + q
        beta = max((1 - q) / (v + 1 - q), 0.89)
        h, v = beta * h + (1 - beta) * theta, beta * v
        theta = 0.9 * theta + 0.1 * h
        cmf.ensemble()
    assert cmf.variance == pytest.approx(v)
    torch.testing.assert_close(cmf.hidden[0], torch.full_like(cmf.hidden[0], h))
    torch.testing.assert_close(parameters(cmf), torch.full_like(parameters(cmf), theta))
