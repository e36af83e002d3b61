"""DPCore's coreset, choice and steps against their definition."""

import pytest
import torch

from tests.fakes import make_images, make_source
from tests.methods.selective import IMAGES, make
from tta.foundation.errors import UserError
from tta.methods.dpcore_coreset import Coreset

SMALL = {"prompts": 2, "steps": 3, "source_margin": 2.0}
ALWAYS = {**SMALL, "reuse_threshold": 1.0, "temperature": 1.0}


@pytest.fixture
def dpcore():
    return make("dpcore", **SMALL)


def coreset_of(*elements):
    coreset = Coreset(torch.zeros(1, 2))
    for mean, std, prompts in elements:
        coreset.append(*map(torch.tensor, (mean, std, [prompts])))
    return coreset


PAIR = (([0.0, 0.0], [1.0, 1.0], [1.0, 0.0]), ([3.0, 4.0], [1.0, 2.0], [0.0, 2.0]))


def test_weights_and_mixture():
    coreset = coreset_of(*PAIR)
    weights = coreset.weights(torch.tensor([0.3, 0.4]), torch.ones(2), 3.0)
    torch.testing.assert_close(weights, torch.tensor([0.841131, 0.158869]), atol=1e-6, rtol=0)
    mixture = torch.tensor([[0.841131, 2 * 0.158869]])
    torch.testing.assert_close(coreset.mixture(weights), mixture, atol=2e-6, rtol=0)


def test_cores_follow_by_their_weight():
    coreset = coreset_of(*PAIR)
    coreset.follow(
        torch.tensor([0.5, 0.1]), torch.ones(2), torch.zeros(2), torch.tensor([[2.0, 2.0]])
    )
    assert torch.allclose(coreset.means, torch.tensor([[0.5, 0.5], [2.8, 3.7]]))
    assert torch.allclose(coreset.stds, torch.tensor([[0.5, 0.5], [0.9, 1.8]]))
    assert torch.allclose(coreset.prompts, torch.tensor([[[1.5, 1.0]], [[0.2, 2.0]]]))


class Naive:
    """The rule written out, with an optimiser of its own for every batch."""

    def __init__(self, method, compat=False):
        self.backbone, self.method, self.compat = method.backbone, method, compat
        self.initial, self.cores = method.prompts.detach().clone(), []
        self.learnt = []

    def moments(self, features):
        return features.mean(0), features.std(0)

    def loss(self, mean, std):
        source_mean, source_std = self.method.source_mean, self.method.source_std
        return (std - source_std).norm() + (mean - source_mean).norm()

    def descend(self, images, start, steps):
        prompts = start.clone().requires_grad_()
        optimizer = torch.optim.AdamW([prompts], lr=0.1)
        for _ in range(steps):
            features = self.method.transformer.features(images, prompts)
            mean, std = self.moments(features)
            optimizer.zero_grad()
            self.loss(mean, std).backward()
            optimizer.step()
        return self.backbone.head(features).detach(), prompts.detach(), mean.detach(), std.detach()

    def step(self, images, params):
        with torch.no_grad():
            mean, std = self.moments(self.method.transformer.features(images))
            plain = self.loss(mean, std)
        if self.cores:
            distances = [(mean - m).norm() + (std - s).norm() for m, s, _ in self.cores]
            w = (-torch.stack(distances) / params.temperature).softmax(0)
            mixture = sum(weight * core[2] for weight, core in zip(w, self.cores, strict=True))
            with torch.no_grad():
                features = self.method.transformer.features(images, mixture)
                mixed = self.loss(*self.moments(features))
            if mixed < params.reuse_threshold * plain:
                logits, prompts, *shown = self.descend(images, mixture, 1)
                self.follow(w, *(shown if self.compat else (mean, std)), prompts)
                self.learnt.append(False)
                return logits
        logits, prompts, *_ = self.descend(images, self.initial, params.steps)
        self.cores.append([mean, std, prompts])
        self.learnt.append(True)
        return logits

    def follow(self, weights, mean, std, prompts):
        for weight, core in zip(weights, self.cores, strict=True):
            growth = std - core[1]
            growth = growth.clamp_min(0) if self.compat else growth
            core[0] = core[0] + 0.999 * weight * (mean - core[0])
            core[1] = core[1] + 0.999 * weight * growth
            core[2] = core[2] + 0.999 * weight * (prompts - core[2])


@pytest.mark.parametrize("compat", [False, True])
def test_a_stream_written_out(compat):
    method = make("dpcore", compat=compat, **{**SMALL, "reuse_threshold": 0.97})
    naive = Naive(method, compat)
    dark = make_images(8, 3) * 0.3
    for images in (IMAGES, IMAGES.flip(3), dark, IMAGES[:5], dark.flip(2)):
        expected = naive.step(images, method.params)
        torch.testing.assert_close(method.step(images), expected, atol=1e-5, rtol=1e-4)
    assert 1 < sum(naive.learnt) < len(naive.learnt)  # both ways were gone
    for found, wanted in zip(
        (method.coreset.means, method.coreset.stds, method.coreset.prompts),
        map(torch.stack, zip(*naive.cores, strict=True)),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_before_the_first_batch_it_predicts_as_the_source_model(dpcore):
    source = dpcore.predict(IMAGES)
    assert torch.equal(source, dpcore.backbone(IMAGES))
    dpcore.step(IMAGES)
    assert not torch.equal(dpcore.predict(IMAGES), source)


@torch.no_grad()
def test_moments_are_of_the_source_images_that_it_is_certain_of(dpcore):
    images = torch.cat([images for images, _ in make_source().one_pass()])
    features = dpcore.backbone.features(images)
    torch.testing.assert_close(dpcore.source_mean, features.mean(0), atol=1e-5, rtol=1e-4)
    entropies = torch.distributions.Categorical(logits=dpcore.backbone.head(features)).entropy()
    margin = entropies.sort().values[4:6].mean() / torch.log(torch.tensor(5.0))
    chosen = make("dpcore", **{**SMALL, "source_margin": margin.item()})
    certain = features[entropies.argsort()[:5]]
    torch.testing.assert_close(chosen.source_std, certain.std(0), atol=1e-5, rtol=1e-4)


def test_certain_of_nothing_it_is_refused():
    with pytest.raises(UserError, match="of 12 there are 0; raise --set source_margin"):
        make("dpcore", source_margin=0.0)


def test_a_batch_of_one_has_the_sources_spread(dpcore):
    dpcore.step(IMAGES[:1])
    assert torch.equal(dpcore.coreset.stds[0], dpcore.source_std)
    assert dpcore.coreset.prompts.isfinite().all()


def test_images_that_are_not_numbers_change_nothing(dpcore):
    for earlier in ([], [IMAGES]):
        for images in earlier:
            dpcore.step(images)
        before, cores = dpcore.prompts.detach().clone(), len(dpcore.coreset)
        dpcore.step(torch.full_like(IMAGES, torch.nan))
        assert torch.equal(dpcore.prompts, before)
        assert len(dpcore.coreset) == cores
        assert dpcore.coreset.means.isfinite().all()
