"""FOA's fitness, shift and search against their definition."""

import sys

import pytest
import torch

from tests.fakes import make_backbone, make_source
from tests.methods.selective import IMAGES, make
from tta.backbones import create_backbone
from tta.foundation.errors import UserError
from tta.methods import METHODS
from tta.methods.foa import ForwardOnlyAdaptation
from tta.methods.foa_search import EvolutionSearch
from tta.methods.requirements import check_needs

SMALL = {"population": 4, "prompts": 2}


@pytest.fixture
def foa():
    pytest.importorskip("cmaes", reason="the optional package cmaes is not installed")
    return make("foa", **SMALL)


def layer_by_layer(backbone, images, prompts):
    """The class token after each block, with the prompts put in by hand."""
    vit = backbone.model
    tokens = vit._pos_embed(vit.patch_embed((images - backbone.mean) / backbone.std))
    prompts = prompts.expand(len(images), -1, -1)
    tokens = torch.cat([tokens[:, :1], prompts, tokens[:, 1:]], 1)
    seen = []
    for block, norm in zip(vit.blocks, [*(b.norm1 for b in vit.blocks[1:]), vit.norm], strict=True):
        tokens = block(tokens)
        seen.append(norm(tokens[:, 0]))
    return seen


@torch.no_grad()
def test_two_batches_written_out(foa):
    naive = make("foa", **SMALL)
    backbone, target_mean, layers = naive.backbone, None, len(naive.backbone.model.blocks)
    for images in (IMAGES, IMAGES[:5].flip(3)):
        proposed = [*naive.search.ask(4, naive.generator), naive.best]
        losses, outputs, means = [], [], []
        for candidate in proposed:
            seen = layer_by_layer(backbone, images, candidate.float().view(2, -1))
            p = backbone.head(seen[-1]).softmax(1)
            loss = -(p * p.log()).sum()
            for i, tokens in enumerate(seen):
                mean, std = (part.chunk(layers)[i] for part in (foa.source_mean, foa.source_std))
                distance = (tokens.mean(0) - mean).norm() ** 2 + (tokens.std(0) - std).norm() ** 2
                loss = loss + 0.4 * len(images) / 64 * distance
            shift = 0 if target_mean is None else foa.source_mean.chunk(layers)[-1] - target_mean
            losses.append(loss.item())
            outputs.append(backbone.head(seen[-1] + shift))
            means.append(seen[-1].mean(0))
        best = losses.index(min(losses))
        naive.best = proposed[best]
        naive.search.tell(torch.stack(proposed), losses)
        mean = torch.stack(means).mean(0)
        target_mean = mean if target_mean is None else 0.9 * target_mean + 0.1 * mean
        torch.testing.assert_close(foa.step(images), outputs[best], atol=1e-5, rtol=1e-4)
        assert torch.equal(foa.best, naive.best)
        torch.testing.assert_close(foa.target_mean, target_mean, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_source_statistics_are_of_the_network_without_prompts(foa):
    backbone = make("tent").backbone
    features = backbone.features(torch.cat([images for images, _ in make_source().one_pass()]))
    width = backbone.feature_dim
    torch.testing.assert_close(foa.source_mean[-width:], features.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(foa.source_std[-width:], features.std(0), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_pass_that_fails_leaves_no_prompts(foa):
    before = foa.backbone.features(IMAGES)
    with pytest.raises(RuntimeError):
        foa.transformer.activations(IMAGES[:, :2], torch.ones(2, foa.backbone.feature_dim))
    assert torch.equal(foa.backbone.features(IMAGES), before)


def test_the_search_finds_the_minimum():
    pytest.importorskip("cmaes", reason="the optional package cmaes is not installed")
    goal = torch.linspace(-1, 1, 5, dtype=torch.float64)
    for diagonal in (False, True):
        search, generator = EvolutionSearch(5, 9, diagonal), torch.Generator().manual_seed(0)
        for _ in range(60):
            candidates = search.ask(9, generator)
            search.tell(candidates, (candidates - goal).square().sum(1).tolist())
        assert (candidates.mean(0) - goal).abs().max() < 0.05


@pytest.mark.parametrize("diagonal", [False, True])
def test_candidates_are_those_of_the_package(diagonal):
    pytest.importorskip("cmaes", reason="the optional package cmaes is not installed")
    search = EvolutionSearch(40, 9, diagonal)
    for generation in range(4):
        candidates = search.ask(9, torch.Generator().manual_seed(generation))
        seed = torch.randint(2**32, (), generator=torch.Generator().manual_seed(generation))
        search._search.reseed_rng(seed.item())
        expected = [torch.from_numpy(search._search.ask()) for _ in range(9)]
        assert torch.equal(candidates, torch.stack(expected))
        search.tell(candidates, candidates.square().sum(1).tolist())


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(UserError, match="pip install cmaes"):
        ForwardOnlyAdaptation(make_backbone("layer_norm"))


@pytest.mark.parametrize("kind", ["batch_norm", "group_norm", "pooled_vit"])
def test_a_backbone_without_a_class_token_is_refused(kind):
    if kind == "pooled_vit":
        options = {"img_size": 32, "global_pool": "avg"}
        backbone = create_backbone("test_vit", pretrained=False, model_kwargs=options)
    else:
        backbone = make_backbone(kind)
    method = METHODS["foa"]
    with pytest.raises(UserError, match="class token.*choose one"):
        check_needs(method, method.Params(), backbone, has_source=True)
