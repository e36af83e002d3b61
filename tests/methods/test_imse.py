"""IMSE's spectra, domains and steps against their definition."""

import copy

import pytest
import torch
import torch.nn.functional as F

from tests.fakes import make_backbone, make_images, make_source
from tests.methods.selective import IMAGES, between_entropies, make, parameters
from tta.methods import METHODS
from tta.methods.imse_domains import DomainBank, moment_distance, patch_moments
from tta.methods.imse_spectrum import SpectralLinear, spectrum, spread_along

DARK = make_images(8, 3) * 0.3


def close(found, *expected):
    torch.testing.assert_close(found.flatten(), torch.tensor(expected), atol=1.01e-6, rtol=0)


def test_the_distance_of_moments():
    first = torch.tensor([[0.0, 1.0], [1.0, 2.0]])
    second = torch.tensor([[0.5, 1.0], [2.0, 2.0]])
    close(moment_distance(first, second), 0.21875)
    close(moment_distance(second, first), 0.21875)


def test_the_spread_of_tokens_leaves_out_the_largest():
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [2.0, 1.0]]])
    close(spread_along(tokens, torch.eye(2)), 0.424156)
    close(spread_along(torch.ones(2, 3, 2), torch.eye(2)), 0.0)  # none is below the largest


def test_a_spectral_layer_is_the_layer():
    layer = torch.nn.Linear(5, 7)
    layer.weight.data[3] = layer.weight.data[2]
    spectral = SpectralLinear(layer, spectrum(layer.weight))
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(spectral(x), layer(x))
    layer.weight.data[:, 1:] = 0
    assert len(spectrum(layer.weight).values) == 1


def bank_of(*domains, kept=5):
    bank = DomainBank(torch.zeros(2, 1), torch.zeros(3), kept)
    for mean, value in domains:
        bank.follow(torch.tensor([[mean], [1.0]]))
        bank.leave(torch.full((3,), value))
    return bank


def test_the_bank_recalls_the_nearest_or_a_mixture():
    bank, batch = bank_of((0.0, 1.0), (4.0, 2.0)), torch.tensor([[3.0], [1.0]])
    close(bank.nearest(batch), 2.0, 2.0, 2.0)
    weight = torch.tensor([-9.0, -1.0]).div(4.0).softmax(0)[1].item()
    close(bank.mixture(batch, 4.0), *[1 + weight] * 3)


def test_the_bank_keeps_the_source_and_the_latest():
    bank = bank_of(*((float(number), float(number)) for number in range(5)), kept=2)
    close(bank.values[:, 0], 0.0, 3.0, 4.0)
    close(bank.moments[:, 0, 0], 0.0, 3.0, 4.0)


def test_moments_follow_what_is_a_number():
    bank = bank_of()
    for mean in (torch.nan, 1.0, 2.0, torch.nan):
        bank.follow(torch.tensor([[mean], [1.0]]))
    close(bank.current[0, 0], 1.2)


class Naive:
    """The rule written out, on weights that are put together by hand."""

    def __init__(self, method):
        self.method, self.params = method, method.params
        self.backbone = make("source").backbone
        blocks = self.backbone.model.blocks
        frozen = int(0.25 * len(blocks))
        layers = [
            [layer for layer in block.modules() if isinstance(layer, torch.nn.Linear)]
            for block in blocks
        ]
        self.layers = [layer for block in layers[: len(blocks) - frozen] for layer in block]
        self.watched = [layer for block in layers[-3:] for layer in block]
        self.parts = {
            layer: torch.linalg.svd(layer.weight.detach(), full_matrices=False)
            for layer in {*self.layers, *self.watched}
        }
        self.values = [self.parts[layer].S.clone() for layer in self.layers]
        self.optimizer, self.left = self.fresh(), []
        self.bank, self.current = [(self.source(), [v.clone() for v in self.values])], None

    def fresh(self):
        return torch.optim.Adam([torch.nn.Parameter(v) for v in self.values], lr=self.params.lr)

    def source(self):
        average = None
        for images, _ in make_source().one_pass():
            moments = self.moments(images)
            average = moments if average is None else 0.8 * average + 0.2 * moments
        return average

    @torch.no_grad()
    def moments(self, images):
        seen = []
        hook = self.backbone.model.blocks[0].register_forward_pre_hook(
            lambda _, given: seen.append(given[0][:, 1:])
        )
        self.backbone(images)
        hook.remove()
        return torch.stack([seen[0].mean((0, 1)), seen[0].var((0, 1))])

    def gradients(self, images, values, margin, allowed):
        values = [value.clone().requires_grad_() for value in values]
        seen, handles = [], []
        for layer in self.watched:
            right = self.parts[layer].Vh
            handles.append(
                layer.register_forward_pre_hook(
                    lambda _, given, right=right: seen.append((given[0], right))
                )
            )
        weights = {}
        names = {layer: name for name, layer in self.backbone.named_modules()}
        for layer, value in zip(self.layers, values, strict=True):
            left, _, right = self.parts[layer]
            weights[f"{names[layer]}.weight"] = left @ torch.diag(value) @ right
        logits = torch.func.functional_call(self.backbone, weights, (images,))
        [handle.remove() for handle in handles]
        spreads = []
        for tokens, right in seen:
            stds = (tokens / tokens.norm(dim=2, keepdim=True) @ right.T).std((0, 1))
            spreads.append(stds.sort().values[:-1].mean())
        entropies = -(logits.softmax(1) * logits.log_softmax(1)).sum(1)
        reliable = allowed & (entropies < margin)
        loss = entropies[reliable].mean() - 50 * sum(spreads) / 3
        return logits.detach(), reliable, torch.autograd.grad(loss, values)

    def step(self, images, margin):
        self.enter(images)
        everything = torch.ones(len(images), dtype=torch.bool)
        logits, reliable, uphill = self.gradients(images, self.values, margin, everything)
        norm = torch.cat(uphill).norm()
        worst = [v + 0.05 * g / norm for v, g in zip(self.values, uphill, strict=True)]
        _, _, downhill = self.gradients(images, worst, margin, reliable)
        held = self.optimizer.param_groups[0]["params"]
        for parameter, gradient in zip(held, downhill, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        self.values = [parameter.detach().clone() for parameter in held]
        return logits

    def enter(self, images):
        moments = self.moments(images)
        if self.current is not None and moment_distance(self.current, moments) > 0.05:
            self.bank.append((self.current, self.values))
            distances = torch.stack([moment_distance(known, moments) for known, _ in self.bank])
            self.left.append(int(distances.argmin()))
            if self.params.retrieval == "top1":
                values = self.bank[distances.argmin()][1]
            else:
                weights = (-distances).softmax(0)
                kept = zip(*(values for _, values in self.bank), strict=True)
                values = [weights @ torch.stack(parts) for parts in kept]
            self.values = [value.clone() for value in values]
            self.optimizer, self.current = self.fresh(), None
        if len(images) == 8:
            new = self.current is None
            self.current = moments if new else 0.8 * self.current + 0.2 * moments


@pytest.mark.parametrize("retrieval", ["top1", "mix"])
def test_a_stream_of_two_domains_written_out(retrieval):
    margin = between_entropies(make("source"), 7)
    method = make("imse", margin=margin, retrieval=retrieval)
    method.usual_batch = 8
    naive = Naive(method)
    for images in (IMAGES, IMAGES.flip(3), DARK, DARK[:5], DARK.flip(2), IMAGES.flip(2), DARK):
        expected = naive.step(images, method.margin)
        torch.testing.assert_close(method.step(images), expected, atol=1e-4, rtol=1e-3)
    assert 2 <= len(naive.left) == len(method.domains) - 1 < 6
    found = parameters(method)
    torch.testing.assert_close(found, torch.cat(naive.values), atol=1e-3, rtol=1e-3)


def test_only_singular_values_are_trained_and_not_those_of_the_last_blocks():
    method = make("imse")
    backbone = make_backbone("layer_norm")
    names = {name for name, p in method.backbone.named_parameters() if p.requires_grad}
    blocks = len(backbone.model.blocks)
    assert names == {
        f"model.blocks.{number}.{layer}.values"
        for number in range(blocks - int(0.25 * blocks))
        for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    }


def test_a_batch_without_reliable_images_is_no_step():
    method = make("imse", margin=9.0)
    method.step(IMAGES)
    before, method.margin = parameters(method), 0.0
    method.step(IMAGES)
    assert torch.equal(parameters(method), before)


def test_images_that_are_not_numbers_leave_model_and_domains_alone():
    method = make("imse", margin=9.0)
    method.step(IMAGES)
    before, current = parameters(method), method.domains.current.clone()
    method.step(torch.full_like(IMAGES, torch.nan))
    assert torch.equal(parameters(method), before)
    assert torch.equal(method.domains.current, current)
    assert len(method.domains) == 1


def test_one_image_that_is_not_numbers_leaves_model_and_domains_alone():
    method = make("imse", margin=9.0)
    method.step(IMAGES)
    before, current = parameters(method), method.domains.current.clone()
    optimizer = copy.deepcopy(method.optimizer.state_dict()["state"])
    spoilt = IMAGES.clone()
    spoilt[2] = torch.nan
    method.step(spoilt)
    assert torch.equal(parameters(method), before)
    assert torch.equal(method.domains.current, current)
    torch.testing.assert_close(method.optimizer.state_dict()["state"], optimizer, atol=0, rtol=0)
    assert method.predict(IMAGES).isfinite().all()
    assert method.step(IMAGES).isfinite().all()
    assert not torch.equal(parameters(method), before)
    assert parameters(method).isfinite().all()


@pytest.mark.parametrize("number", [0, -1])
@pytest.mark.parametrize("part", ["fc1", "fc2"])
def test_a_linear_layer_that_starts_at_zero_is_one_direction(number, part):
    backbone = make_backbone("layer_norm")
    with torch.no_grad():
        layer = getattr(backbone.model.blocks[number].mlp, part)
        layer.weight.zero_()
        layer.bias.zero_()
    method = METHODS["imse"](backbone, METHODS["imse"].Params(margin=9.0), seed=2)
    method.start(make_source())
    before = parameters(method)
    assert method.step(IMAGES).isfinite().all()
    assert method.predict(IMAGES).isfinite().all()
    assert parameters(method).isfinite().all()
    assert not torch.equal(parameters(method), before)


def test_a_domain_is_left_and_found_again():
    method = make("imse", margin=9.0, lr=0.1)
    start = parameters(method)
    method.step(IMAGES)
    learnt = parameters(method)
    method._enter(DARK)
    assert len(method.domains) == 2
    method._enter(IMAGES)
    assert torch.equal(parameters(method), learnt)
    assert not torch.equal(learnt, start)
    assert not method.optimizer.state_dict()["state"]


def test_moments_are_those_of_patches_with_their_places():
    method, model = make("imse"), make_backbone("layer_norm").model
    mean, std = method.backbone.mean, method.backbone.std
    patches = model.patch_embed((IMAGES - mean) / std).flatten(1, -2) + model.pos_embed[:, 1:]
    current = patch_moments(patches)
    method._enter(IMAGES)
    torch.testing.assert_close(method.domains.current[0], current)
    assert F.mse_loss(method.domains.moments[0], current) > 0
