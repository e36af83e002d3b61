"""AdaContrast's loss and memories against their definition."""

import pytest
import torch
import torch.nn.functional as F

from tests.fakes import make_backbone
from tests.methods.selective import IMAGES, make
from tta.methods.adacontrast import AdaContrast

SMALL = {"queue_size": 16, "refine_after": 8, "neighbors": 3}


def test_loss_written_out():
    method = make("adacontrast", **SMALL)
    keys, _ = method._teach(IMAGES.flip(3))
    labels = torch.arange(len(IMAGES)) % 5
    features = method.backbone.features(IMAGES)
    logits = method.backbone.head(features)
    contrastive = []
    for query, key, label in zip(F.normalize(features, dim=1), keys, labels, strict=True):
        others = method.queue[method.queue_labels != label]
        similarities = torch.cat([key[None], others]) @ query / 0.07
        contrastive.append(similarities.logsumexp(0) - similarities[0])
    mean = logits.softmax(1).mean(0)
    expected = F.cross_entropy(logits, labels) + sum(contrastive) / len(IMAGES)
    expected = expected + (mean * mean.log()).sum()
    torch.testing.assert_close(method._loss(IMAGES, keys, labels), expected)


def test_pseudo_labels_are_the_neighbours_after_enough_images():
    method = make("adacontrast", **SMALL)
    own = method.backbone(IMAGES).argmax(1)
    assert torch.equal(method._pseudo_labels(IMAGES), own)
    method.step(IMAGES)
    assert method.seen == 8
    features = F.normalize(method.backbone.features(IMAGES), dim=1)
    method.bank_probabilities[:8] = torch.eye(5)[torch.arange(8) % 5]
    for feature, label in zip(features, method._pseudo_labels(IMAGES), strict=True):
        nearest = sorted(range(8), key=lambda i: -(feature @ method.bank[i]).item())[:3]
        votes = torch.bincount(torch.tensor(nearest) % 5, minlength=5)
        assert votes[label] == votes.max()


def test_memories_hold_what_the_momentum_encoder_saw():
    method = make("adacontrast", teacher_decay=1.0, **SMALL)
    teacher = F.normalize(method.teacher.features(IMAGES), dim=1)
    mirrored = F.normalize(method.teacher.features(IMAGES.flip(3)), dim=1)
    method.step(IMAGES)
    same = torch.isclose(method.bank[:8], teacher, atol=1e-5).all(1)
    flipped = torch.isclose(method.bank[:8], mirrored, atol=1e-5).all(1)
    assert (same | flipped).all()
    assert same.any() and flipped.any()
    assert not method.bank[8:].any()


def test_the_queue_keeps_its_labels_for_the_loss_but_not_in_compat():
    seen = {}
    for compat in (False, True):
        method = make("adacontrast", compat=compat, **SMALL)
        before = method.queue_labels.clone()
        loss = method._loss
        method._loss = lambda *parts, m=method, f=loss, c=compat: (
            seen.update({c: m.queue_labels.clone()}),
            f(*parts),
        )[1]
        method.step(IMAGES)
        assert torch.equal(seen[compat], before) != compat
        assert not torch.equal(method.queue_labels, before)
    assert torch.equal(seen[True][8:], seen[False][8:])


def test_outputs_are_after_the_update_with_running_statistics():
    method = make("adacontrast", "batch_norm", **SMALL)
    start = [statistic.clone() for statistic in method.statistics]
    outputs = method.step(IMAGES)
    torch.testing.assert_close(outputs, method.predict(IMAGES))
    torch.testing.assert_close(outputs[:1], method.predict(IMAGES[:1]), atol=1e-5, rtol=1e-4)
    assert not torch.equal(start[0], method.statistics[0])


def test_classifier_and_bottleneck_learn_at_a_rate_of_their_own():
    backbone = make_backbone("batch_norm")
    backbone.model.bottleneck = backbone.model.bn1
    method = AdaContrast(backbone, AdaContrast.Params(head_lr_factor=10.0, queue_size=4))
    rest, head = method.optimizer.param_groups
    assert (rest["lr"], head["lr"]) == pytest.approx((2e-4, 2e-3))
    assert len(head["params"]) == 4
    assert len(rest["params"]) + len(head["params"]) == len(method.parameters)
