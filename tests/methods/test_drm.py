"""DRM: selection rules, online adaptation, the released code's slips."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.fakes import NUM_CLASSES, attach_domain_heads, make_backbone, make_images
from tests.test_conformance import assert_equal_states
from tta.foundation.errors import UserError
from tta.methods.drm import DomainSpecificRiskMinimization
from tta.methods.requirements import check_needs

IMAGES = make_images(6)
RULES = ("ensemble", "entropy", "cosine", "lp", "discriminator", "discriminator_mix")


def make(**values) -> DomainSpecificRiskMinimization:
    backbone = attach_domain_heads(make_backbone("batch_norm"))
    with torch.no_grad():
        for head in (*backbone.domain_heads.heads, backbone.classifier):
            head.weight.mul_(40)  # random heads are all but uniform
    method = DomainSpecificRiskMinimization(
        backbone, DomainSpecificRiskMinimization.Params(**values)
    )
    method.start()
    return method


def heads_of(method: DomainSpecificRiskMinimization) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features ``[B, D]`` and logits ``[M, B, C]``, the slow way."""
    features = method.backbone.features(IMAGES)
    heads = [*method.backbone.domain_heads.heads, method.backbone.classifier]
    return features, torch.stack([features @ head.weight.T + head.bias for head in heads])


def entropies_of(logits: torch.Tensor) -> torch.Tensor:
    return torch.stack([torch.distributions.Categorical(logits=z).entropy() for z in logits])


def naive(rule: str, method: DomainSpecificRiskMinimization) -> torch.Tensor:
    """Return the expected output of a rule, sample by sample."""
    features, logits = heads_of(method)
    entropies, p = entropies_of(logits), logits.softmax(2)
    extra = method.backbone.domain_heads
    rows = []
    for b, feature in enumerate(features):
        if rule == "ensemble":
            weights = 1 / entropies[:, b]
            rows.append((weights[:, None] * p[:, b]).sum(0) / weights.sum())
        elif rule == "entropy":
            rows.append(p[entropies.mean(1).argmin(), b])
        elif rule == "cosine":
            similar = [F.cosine_similarity(feature, mean, dim=0) for mean in extra.means]
            rows.append(p[torch.stack(similar).argmax(), b])
        elif rule == "lp":
            distant = [(feature - mean).norm() for mean in extra.means]
            rows.append(p[torch.stack(distant).argmin(), b])
        elif rule == "discriminator":
            rows.append(p[extra.discriminator(feature).argmax(), b])
        else:
            rows.append((extra.discriminator(feature).softmax(0)[:, None] * p[:3, b]).sum(0))
    return torch.stack(rows)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_equals_its_naive_version(rule):
    method = make(rule=rule, adapt="none")
    torch.testing.assert_close(method.step(IMAGES), naive(rule, method))


def test_gamma_spans_uniform_to_hard_choices():
    method = make(adapt="none", gamma=0.0)
    _, logits = heads_of(method)
    torch.testing.assert_close(method.step(IMAGES), logits.softmax(2).mean(0))
    least = entropies_of(logits).argmin(0)
    hard = torch.stack([logits[m, b].softmax(0) for b, m in enumerate(least)])
    torch.testing.assert_close(make(adapt="none", gamma=-1.0).step(IMAGES), hard)
    with pytest.raises(UserError, match="gamma must be -1 or at least 0, but got -0.5"):
        make(gamma=-0.5)


@pytest.mark.parametrize("rule", ["ensemble", "entropy"])
def test_the_shared_head_can_be_left_out(rule):
    method = make(rule=rule, adapt="none", use_shared_head=False, gamma=0.0)
    _, logits = heads_of(method)
    p = logits[:3].softmax(2)
    expected = p.mean(0) if rule == "ensemble" else p[entropies_of(logits[:3]).mean(1).argmin()]
    torch.testing.assert_close(method.step(IMAGES), expected)


def test_compat_takes_the_farthest_domain_by_cosine():
    method = make(rule="cosine", adapt="none", compat=True)
    features, logits = heads_of(method)
    similarity = F.normalize(features) @ F.normalize(method.backbone.domain_heads.means).T
    expected = logits.softmax(2)[similarity.argmin(1), torch.arange(6)]
    torch.testing.assert_close(method.step(IMAGES), expected)


def test_compat_drops_the_shared_heads_mass():
    method = make(adapt="none", compat=True)
    features, logits = heads_of(method)
    weights = 1 / entropies_of(logits)
    weights = weights / weights.sum(0)
    dropped = (weights[:3, :, None] * logits[:3].softmax(2)).sum(0)
    torch.testing.assert_close(method._combine(features, logits), dropped)
    torch.testing.assert_close(method.step(IMAGES), dropped / dropped.sum(1, keepdim=True))


@pytest.mark.parametrize("kind", ["uniform", "drm"])
def test_compat_squeezes_confidence_by_a_second_softmax(kind):
    features, logits = heads_of(make())
    logits = logits * 50  # heads that are sure
    found = {}
    for compat in (False, True):
        method = make(pseudo_labels=kind, gamma=-1.0, compat=compat)  # -1: no mass is dropped
        combined = method._combine(features, logits)
        confidence, _ = method._pseudo_labels(logits, combined)
        found[compat] = confidence
        p = logits.softmax(2).mean(0) if kind == "uniform" else combined
        expected = (p.softmax(1) if compat else p).amax(1)
        torch.testing.assert_close(confidence, expected.expand(4, -1))
    # At most e / (e + C - 1), however sure the heads are.
    limit = torch.e / (torch.e + NUM_CLASSES - 1) + 1e-6
    assert found[True].max() <= limit < found[False].max()


@pytest.mark.parametrize("kind", ["own", "last", "uniform", "drm"])
def test_one_step_descends_on_the_confident_pseudo_labels(kind):
    _, logits = heads_of(make())
    expected_output = naive("ensemble", make())
    p = logits.softmax(2)
    soft = {"own": p, "last": p[-1:], "uniform": p.mean(0)[None], "drm": expected_output[None]}
    confidence, labels = soft[kind].max(2)
    threshold = confidence.median().item() + 1e-6
    assert 0 < (confidence >= threshold).sum() < confidence.numel()
    method = make(pseudo_labels=kind, confidence=threshold, alpha=1.0)
    losses = []
    for m, head in enumerate([*method.backbone.domain_heads.heads, method.backbone.classifier]):
        row = m if kind == "own" else 0
        keep = confidence[row] >= threshold
        z = method.backbone.features(IMAGES) @ head.weight.T + head.bias
        if keep.any():
            losses.append(F.cross_entropy(z[keep], labels[row][keep]))
    gradients = torch.autograd.grad(sum(losses), method.parameters, allow_unused=True)
    before = [parameter.detach().clone() for parameter in method.parameters]
    torch.testing.assert_close(method.step(IMAGES), expected_output)
    for old, new, gradient in zip(before, method.parameters, gradients, strict=True):
        if gradient is None:  # a head without a confident sample
            assert torch.equal(old, new)
            continue
        adam = old - 1e-3 * gradient / (gradient.abs() + 1e-8)  # Adam's first step
        clear = gradient.abs() > 1e-5  # below, rounding decides the sign that Adam steps by
        assert clear.any()
        torch.testing.assert_close(new.detach()[clear], adam[clear], atol=2e-5, rtol=1e-4)


def test_the_output_is_the_prediction_before_the_first_of_several_steps():
    once, twice = make(alpha=10.0, confidence=0.0), make(alpha=10.0, confidence=0.0, steps=2)
    torch.testing.assert_close(once.step(IMAGES), twice.step(IMAGES))
    assert not torch.equal(once.parameters[0], twice.parameters[0])


@pytest.mark.parametrize("adapt", ["heads", "all"])
def test_compat_returns_the_pass_before_the_last_of_several_steps(adapt):
    options = {"adapt": adapt, "alpha": 10.0, "confidence": 0.0, "compat": True}
    singly, thrice = make(**options), make(**options, steps=3)
    passes = [singly.step(IMAGES) for _ in range(3)]
    torch.testing.assert_close(thrice.step(IMAGES), passes[2])
    assert (passes[2] - passes[0]).abs().max() > 1e-3


@pytest.mark.parametrize("adapt", ["heads", "all"])
def test_nothing_above_the_threshold_leaves_everything(adapt):
    method = make(adapt=adapt, confidence=1.1, steps=2)
    before = method.state_dict()
    method.step(IMAGES)
    assert_equal_states(before, method.state_dict())


def test_what_is_trained():
    images = {"heads": set(), "all": set(), "none": set()}
    for adapt, changed in images.items():
        method = make(adapt=adapt, confidence=0.0, alpha=1.0)
        before = {key: value.clone() for key, value in method.backbone.state_dict().items()}
        method.step(IMAGES)
        after = method.backbone.state_dict()
        changed.update(key for key in before if not torch.equal(before[key], after[key]))
    heads = {f"domain_heads.heads.{k}.{part}" for k in range(3) for part in ("weight", "bias")}
    assert images["none"] == set()
    assert images["heads"] == heads | {"model.fc.weight", "model.fc.bias"}
    assert images["all"] > images["heads"]
    assert not any("running" in key or "discriminator" in key for key in images["all"])


@pytest.mark.parametrize("values", [{"rule": rule} for rule in RULES] + [{"adapt": "all"}])
@pytest.mark.parametrize("compat", [False, True])
def test_single_images_give_probabilities_and_reset_is_exact(values, compat):
    method = make(**values, compat=compat, confidence=0.0, steps=2)
    start = method.state_dict()
    first = [method.step(IMAGES[i : i + 1]) for i in range(3)]
    assert all(out.shape == (1, NUM_CLASSES) and (out >= 0).all() for out in first)
    torch.testing.assert_close(torch.cat(first).sum(1), torch.ones(3))
    method.reset()
    assert_equal_states(start, method.state_dict())
    second = [method.step(IMAGES[i : i + 1]) for i in range(3)]
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


def test_state_round_trip():
    first, second = make(confidence=0.0), make(confidence=0.0)
    first.step(IMAGES)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.step(IMAGES), second.step(IMAGES))


def test_a_backbone_without_heads_is_refused():
    with pytest.raises(UserError, match=r"'drm' needs a head for each.*tta.train_source --drm"):
        check_needs(
            DomainSpecificRiskMinimization,
            DomainSpecificRiskMinimization.Params(),
            make_backbone("batch_norm"),
            has_source=True,
        )
    check_needs(
        DomainSpecificRiskMinimization,
        DomainSpecificRiskMinimization.Params(),
        attach_domain_heads(make_backbone("batch_norm")),
        False,
    )
