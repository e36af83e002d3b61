"""OWTTT's threshold, pool, losses and step."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.fakes import make_source
from tests.methods.selective import IMAGES, make, parameters
from tta.methods.owttt_alignment import GaussianSums, divergence, follow
from tta.methods.owttt_threshold import (
    far_from_threshold,
    new_prototypes,
)
from tta.ops.two_groups import two_group_threshold

ROWS = torch.tensor(
    [
        [0.95, 0.1],
        [0.1, 0.9],
        [-0.7, -0.7],
        [-0.72, -0.65],
        [-0.5, 0.6],
        [0.7, -0.6],
        [0.9, 0.3],
        [0.2, 0.8],
    ]
)
UNIT = F.normalize(ROWS, dim=1)
DISTANCE = (1 - UNIT.amax(1)).numpy()  # the prototypes are the axes
UNKNOWN = np.array([0, 0, 1, 1, 0, 0, 0, 0], bool)
POOL = torch.tensor([[-0.707107, -0.707107], [-0.742268, -0.670103]])


def test_the_worked_example_of_the_threshold():
    scores = np.array([0.12, 0.18, 0.22, 0.25, 0.31, 0.55, 0.61, 0.64, 0.72, 0.8])
    assert two_group_threshold(scores, 0.0) == pytest.approx(0.32)
    expected = [0.005495, 0.006116, 1.707107, 1.670103, 0.231779, 0.240743, 0.051317, 0.029858]
    np.testing.assert_allclose(DISTANCE, expected, atol=1e-6)
    assert two_group_threshold(DISTANCE, 0.0) == pytest.approx(0.25)


def test_what_no_threshold_divides():
    for scores in ([], [0.3], [0.3, 0.3], [1.2, 1.7], [0.301, 0.309]):
        assert two_group_threshold(np.array(scores), otherwise=7.0) == 7.0


def test_the_worked_example_of_the_pool():
    between = (UNIT @ UNIT.T).numpy()
    new = new_prototypes(DISTANCE, np.zeros((8, 0)), between, UNKNOWN, limit=100)
    assert new == [2, 3]
    torch.testing.assert_close(UNIT[new], POOL, atol=1e-6, rtol=0)


def test_what_is_near_a_prototype_is_not_added_again():
    unit = torch.cat([UNIT[:4], F.normalize(torch.tensor([[-0.95, 0.05]]), dim=1)])
    distance, between = (1 - unit.amax(1)).numpy(), (unit @ unit.T).numpy()
    pool = (unit @ POOL.T).numpy()
    unknown = np.array([0, 0, 1, 1, 1], bool)
    assert new_prototypes(distance, pool, between, unknown, limit=100) == [4]


def test_a_full_pool_has_let_the_oldest_go_by_the_time_that_the_next_is_asked():
    unit = torch.tensor([[-1.0, 0.0], [0.0, -1.0], [-1.0, 0.0]])
    distance, between = np.array([1.9, 1.8, 1.7]), (unit @ unit.T).numpy()
    everything = np.ones(3, bool)
    for limit, expected in ((100, [0, 1]), (1, [0, 1, 2])):
        empty = np.zeros((3, 0))
        assert new_prototypes(distance, empty, between, everything, limit) == expected


def test_the_surer_half_of_each_side():
    sure = far_from_threshold(DISTANCE, ~UNKNOWN, UNKNOWN)
    assert np.flatnonzero(sure).tolist() == [0, 1, 2]
    scores = np.array([0.1, 0.2, 0.3, 0.9])
    for count, expected in ((1, []), (2, []), (3, []), (4, [0])):
        known = np.arange(4) < count
        found = far_from_threshold(scores, known, np.zeros(4, bool))
        assert np.flatnonzero(found).tolist() == expected
    assert not far_from_threshold(scores, np.zeros(4, bool), scores > 0.8).any()


def test_the_worked_example_of_the_clustering():
    owttt = make("owttt", "batch_norm", clustering_weight=1.0)
    owttt.pool = POOL
    sure = far_from_threshold(DISTANCE, ~UNKNOWN, UNKNOWN)
    loss = owttt._clustering(UNIT, UNIT, ~UNKNOWN & sure, UNKNOWN & sure)
    assert loss.item() == pytest.approx(0.000071, abs=1e-6)
    nothing = np.zeros(8, bool)
    assert owttt._clustering(UNIT, UNIT, nothing, nothing).item() == 0
    only = owttt._clustering(UNIT, UNIT, nothing, UNKNOWN)
    assert only.item() == pytest.approx(0.0, abs=1e-3)
    assert only.isfinite()


def test_the_worked_example_of_the_alignment():
    source = torch.tensor([0.5, 0.5]), torch.tensor([[0.3, 0.05], [0.05, 0.2]])
    known = ROWS[[0, 1, 4, 5, 6, 7]]
    target = follow((torch.zeros(2), torch.zeros(2, 2)), known, 1 / 6)
    torch.testing.assert_close(target[0], torch.tensor([0.391667, 0.35]), atol=1e-6, rtol=0)
    covariance = torch.tensor([[0.263681, -0.154583], [-0.154583, 0.255833]])
    torch.testing.assert_close(target[1], covariance, atol=1e-6, rtol=0)
    apart = 0.05 * divergence(source, target, torch.tensor(0.01))
    assert apart.item() == pytest.approx(0.051962, abs=1e-5)


def test_moments_of_parts_are_those_of_the_whole():
    features = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)) + 5
    sums, moments = GaussianSums(), (torch.zeros(4), torch.zeros(4, 4))
    for start, part in zip((0, 10, 17), features.split([10, 7, 13]), strict=True):
        sums.add(part)
        moments = follow(moments, part, 1 / (start + len(part)))
    expected = features.mean(0), features.T.cov(correction=0)
    for found in (sums.gaussian(), moments):
        torch.testing.assert_close(found[0], expected[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found[1], expected[1], atol=1e-4, rtol=1e-4)


def test_the_divergence_is_that_of_pytorchs_gaussians():
    generator = torch.Generator().manual_seed(1)
    halves = [torch.randn(5, 5, generator=generator) for _ in range(2)]
    gaussians = [(torch.randn(5, generator=generator), half @ half.T) for half in halves]
    first, second = (
        torch.distributions.MultivariateNormal(mean, covariance + 0.3 * torch.eye(5))
        for mean, covariance in gaussians
    )
    kl = torch.distributions.kl_divergence
    expected = kl(first, second) + kl(second, first)
    torch.testing.assert_close(
        divergence(*gaussians, torch.tensor(0.3)), expected, atol=1e-3, rtol=1e-4
    )


def test_source_classes_are_those_the_network_predicts():
    owttt = make("owttt", "batch_norm")
    source = make("source", "batch_norm").backbone
    images = torch.cat([part for part, _ in make_source().one_pass()])
    features = source.features(images)
    own = source.head(features).argmax(1)
    for label in own.unique():
        expected = F.normalize(features[own == label].mean(0), dim=0)
        torch.testing.assert_close(owttt.prototypes[label], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(owttt.source_mean, features.mean(0), atol=1e-5, rtol=1e-4)


def test_known_images_alone_move_the_statistics_and_the_classifier_stays(monkeypatch):
    owttt = make("owttt", "batch_norm", lr=0.01)
    known = np.arange(8) < 5
    monkeypatch.setattr(
        owttt, "_decide", lambda unit, cosines: (known, ~known, np.zeros(8, bool), [6])
    )
    head = owttt.backbone.classifier.weight.clone()
    start, statistics = parameters(owttt), owttt.statistics[0].clone()
    layer, seen = owttt.layers[0], []
    layer.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    owttt.step(IMAGES)
    assert [len(x) for x in seen] == [8, 5, 8]
    expected = 0.9 * statistics + 0.1 * seen[1].mean((0, 2, 3))
    torch.testing.assert_close(owttt.statistics[0], expected)
    assert owttt.seen == 5
    assert owttt.pool.shape[0] == 1
    assert not torch.equal(parameters(owttt), start)
    assert torch.equal(owttt.backbone.classifier.weight, head)


def test_a_step_without_known_or_sure_images_changes_no_weights(monkeypatch):
    owttt = make("owttt", "batch_norm")
    none = np.zeros(8, bool)
    monkeypatch.setattr(owttt, "_decide", lambda unit, cosines: (none, ~none, none, []))
    start = parameters(owttt)
    owttt.step(IMAGES)
    assert torch.equal(parameters(owttt), start)


def test_what_looks_known_is_the_largest_cosine():
    owttt = make("owttt", "batch_norm")
    unit = F.normalize(owttt.backbone.features(IMAGES), dim=1)
    expected = (unit @ owttt.prototypes.T).amax(1).detach()
    torch.testing.assert_close(owttt.score(owttt.predict(IMAGES)), expected)


def test_images_that_are_not_numbers_are_neither_known_nor_unknown():
    owttt = make("owttt", "layer_norm")
    images = IMAGES.clone()
    images[2] = torch.nan
    outputs = owttt.step(images)
    assert outputs[[0, 1, 3, 4, 5, 6, 7]].isfinite().all()
    assert len(owttt.distances) == 7
