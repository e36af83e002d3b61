"""PeTTA: its loss, and what the divergence of the features does."""

import math

import pytest
import torch

from tests.fakes import make_backbone, make_source
from tests.methods.selective import IMAGES, make, parameters
from tta.foundation.cache import PreparationCache
from tta.methods import METHODS
from tta.ops.losses import soft_cross_entropy, symmetric_cross_entropy
from tta.ops.parameters import norm_affine_parameters

SGD = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.0}


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def test_source_moments_are_by_predicted_class():
    petta = make("petta", "batch_norm")
    features = torch.cat([petta.anchor.features(images) for images, _ in make_source().one_pass()])
    labels = petta.anchor.head(features).argmax(1)
    assert petta.source_counts.tolist() == labels.bincount(minlength=5).tolist()
    for label in labels.unique():
        own = features[labels == label]
        torch.testing.assert_close(petta.source_means[label], own.mean(0), atol=1e-4, rtol=1e-3)
        if len(own) > 1:
            found = petta.source_variances[label]
            torch.testing.assert_close(found, own.var(0), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("diverged", [0.0, 0.7])
def test_one_step(symmetric, diverged):
    options = {"memory_size": 20, "symmetric": symmetric, "teacher_rate": 0.5, **SGD}
    petta, naive = (make("petta", "batch_norm", **options) for _ in range(2))
    for method in (petta, naive):
        method._diverge = lambda *_: torch.tensor(diverged)
        with torch.no_grad():  # away from the source, so that the pull has a direction
            for parameter in method.parameters:
                noise = torch.rand(parameter.shape, generator=torch.Generator().manual_seed(1))
                parameter.add_(0.3 * noise)
    start, teacher = parameters(naive), flat(naive.teacher_parameters)
    outputs = naive.predict(IMAGES)
    naive.bank.insert(IMAGES, outputs)
    images = naive.bank.images[naive.bank.occupied_slots()]
    for layer in naive.layers:
        layer.follow = True
    targets, anchor = naive.teacher(images).detach(), naive.anchor(images).detach()
    plain = naive.backbone(images)
    view = naive.backbone(naive.augment(images, torch.Generator().manual_seed(2)))
    losses = soft_cross_entropy(view, targets)
    if symmetric:
        pair = symmetric_cross_entropy(plain, targets), symmetric_cross_entropy(view, targets)
        losses = 0.5 * pair[0] + 0.5 * pair[1]
    cosines = [
        torch.dot(a, b) / (a.norm() * b.norm()).clamp_min(1e-8)
        for a, b in zip(naive.parameters, norm_affine_parameters(naive.anchor), strict=True)
    ]
    pull = -10 * diverged * sum(cosines) / len(cosines)
    loss = losses.mean() + soft_cross_entropy(view, anchor).mean() + pull
    gradient = flat(torch.autograd.grad(loss, naive.parameters))

    torch.testing.assert_close(petta.step(IMAGES), outputs)
    torch.testing.assert_close(parameters(petta), start - 0.1 * gradient, atol=1e-5, rtol=1e-3)
    rate = 0.5 * (1 - diverged)
    expected = teacher + rate * (parameters(petta) - teacher)
    torch.testing.assert_close(flat(petta.teacher_parameters), expected)
    torch.testing.assert_close(flat(petta.statistics), flat(naive.statistics))


def test_divergence_is_of_the_means_before_the_batch():
    petta = make("petta", "batch_norm")
    features = petta.teacher.features(IMAGES).detach()
    logits = petta.teacher.head(features).detach()
    assert petta._diverge(features, logits.argmax(1)) == 0
    labels = logits.argmax(1)
    known = [c for c in labels.unique().tolist() if petta.source_counts[c] > 1]
    distances = []
    for c in known:
        mean = 0.95 * petta.source_means[c] + 0.05 * features[labels == c].mean(0)
        scaled = (mean - petta.source_means[c]).square() / (petta.source_variances[c] + 1e-6)
        distances.append(scaled.mean())
    expected = 1 - math.exp(-sum(distances) / len(distances))
    assert expected > 0
    assert petta._diverge(features, logits.argmax(1)).item() == pytest.approx(expected, rel=1e-3)


def test_images_that_are_not_numbers_leave_the_state_finite():
    petta = make("petta", "batch_norm", memory_size=8)
    start = parameters(petta)
    petta.step(torch.full_like(IMAGES, torch.nan))
    assert torch.equal(parameters(petta), start)
    petta.step(IMAGES)
    assert torch.isfinite(parameters(petta)).all()
    assert torch.isfinite(petta.class_means).all()


def test_what_was_prepared_serves_another_start(tmp_path, monkeypatch):
    monkeypatch.setenv("TTA_CACHE_DIR", str(tmp_path))
    first, second = (METHODS["petta"](make_backbone("batch_norm"), seed=2) for _ in range(2))
    first.start(make_source(), PreparationCache({"kept": 1}))
    second.start(None, PreparationCache({"kept": 1}))
    for _ in range(2):
        assert torch.equal(first.step(IMAGES), second.step(IMAGES))
    assert torch.equal(first.class_means, second.class_means)
