"""ASR's threshold, reset and penalty, written out."""

import math

import pytest
import torch

from tests.fakes import NUM_CLASSES
from tests.methods.selective import IMAGES, make, parameters
from tests.test_conformance import inside

SELECTED = {"margin": 9.0, "redundancy_margin": 2.0}
SGD = {"optimizer": "sgd", "lr": 0.5, "momentum": 0.0, "nesterov": False}
INSIDE, SGD_INSIDE = inside(SELECTED), inside(SGD)
NEVER = {"initial_share": 1e-6}
ALWAYS = {"initial_share": 2.0 * NUM_CLASSES}


def entropy_of_mean(logits):
    log_p = logits.mean(0).log_softmax(0)
    return -(log_p.exp() * log_p).sum().item()


@pytest.mark.parametrize("adapter", ["eta", "roid"])
def test_without_resets_it_is_the_adapter(adapter):
    asr = make("asr", inner=adapter, **(INSIDE if adapter == "eta" else {}), **NEVER)
    plain = make(adapter, **(SELECTED if adapter == "eta" else {}))
    for _ in range(3):
        torch.testing.assert_close(asr.step(IMAGES), plain.step(IMAGES))
    assert torch.equal(parameters(asr), parameters(plain))


def test_the_threshold_follows_the_entropy_of_the_mean_logits():
    asr = make("asr", **INSIDE, **NEVER, **SGD_INSIDE)
    threshold = math.log(1e-6 * NUM_CLASSES)
    source = asr.predict(IMAGES).argmax(1)
    seen = set()
    for _ in range(4):
        logits = asr.step(IMAGES)
        agreeing = (logits.argmax(1) == source).float().mean().item()
        threshold += 0.15 * agreeing * (entropy_of_mean(logits) - threshold)
        seen.add(agreeing)
        assert asr.threshold == pytest.approx(threshold, rel=1e-5)
        assert asr.strength == pytest.approx(5 * (1 - agreeing) ** 2, abs=1e-6)
    assert len(seen) > 1


@pytest.mark.parametrize(("slope", "kept"), [(0.0, 0.5), (0.1, None), (1e3, 0.0)])
def test_a_reset_takes_the_last_layers_back_to_the_source(slope, kept):
    asr = make("asr", kept_slope=slope, **INSIDE, **ALWAYS, **SGD_INSIDE)
    plain = make("eta", **SELECTED, **SGD)
    source = [parameter.detach().clone() for parameter in plain.parameters]
    logits = plain.step(IMAGES)
    fall = math.log(2.0 * NUM_CLASSES**2) - entropy_of_mean(logits)
    share = 0.5 - slope * fall if kept is None else kept
    count = math.ceil(share * len(source))
    assert count == 0 or 0 < count <= len(source) / 2
    asr.step(IMAGES)
    for row, parameter in enumerate(asr.parameters):
        expected = plain.parameters[row] if row < count else source[row]
        assert torch.equal(parameter, expected)
    assert asr.steps == 0
    assert (asr.inner.mean_probabilities == 0).all()


def test_the_penalty_draws_to_what_was_learned_before_the_reset():
    asr = make("asr", kept_slope=0.0, **INSIDE, **ALWAYS, **SGD_INSIDE)
    plain = make("eta", **SELECTED, **SGD)
    source = parameters(plain)
    plain.step(IMAGES)
    squares = torch.cat([p.grad.flatten() for p in plain.parameters]).square()
    asr.step(IMAGES)
    flat = [torch.cat([v.flatten() for v in group]) for group in (asr.importance, asr.centre)]
    torch.testing.assert_close(flat[0], squares)
    torch.testing.assert_close(flat[1], source)
    asr.strength = 3.0
    before = parameters(asr)
    twin = make("eta", **SELECTED, **SGD)
    with torch.no_grad():
        for parameter, value in zip(twin.parameters, asr.parameters, strict=True):
            parameter.copy_(value)
    twin.step(IMAGES)
    asr.threshold = -1.0
    asr.step(IMAGES)
    expected = parameters(twin) - 0.5 * 2 * 3.0 * squares * (before - source)
    torch.testing.assert_close(parameters(asr), expected, atol=1e-6, rtol=1e-4)
    assert (before != source).any()


def test_later_rounds_move_the_anchor_by_a_tenth():
    asr = make("asr", **INSIDE, **ALWAYS, **SGD_INSIDE)
    asr.step(IMAGES)
    first, now = asr.centre[0].clone(), asr.parameters[0].detach().clone()
    asr.step(IMAGES)
    torch.testing.assert_close(asr.centre[0], 0.9 * first + 0.1 * now)


def test_compat_resets_the_model_that_roid_averages_with():
    asr = make("asr", inner="roid", compat=True, kept_slope=0.0, **ALWAYS)
    plain = make("roid")
    plain.step(IMAGES)
    asr.step(IMAGES)
    assert torch.equal(parameters(asr), parameters(plain))
    half = math.ceil(len(plain.parameters) / 2)
    averaged = asr.inner.source_parameters
    for row, parameter in enumerate(asr.parameters):
        expected = parameter if row < half else plain.source_parameters[row]
        assert torch.equal(averaged[row], expected)
    asr.reset()
    assert all(map(torch.equal, averaged, plain.source_parameters))


def test_compat_divides_roids_loss_by_the_usual_batch():
    options = {**SGD_INSIDE, **NEVER, "inner.lr": 0.01, "compat": True, "inner.compat": True}
    asr, plain = make("asr", inner="roid", **options), make("roid", **SGD | {"lr": 0.01})
    asr.usual_batch = 4
    plain.usual_batch, plain.params = 4, plain.Params(**SGD | {"lr": 0.01}, compat=True)
    asr.step(IMAGES)
    plain.step(IMAGES)
    assert torch.equal(parameters(asr), parameters(plain))
    whole = make("roid", **SGD | {"lr": 0.01})
    whole.step(IMAGES)
    assert not torch.equal(parameters(asr), parameters(whole))
