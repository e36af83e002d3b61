"""Un-mixed batch norm against the worked example, and against all components written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tta.ops.norm.batch_norm import following
from tta.ops.norm.unmixed import UnmixedBatchNorm, Unmixing, component_shares, unmixed_moments

IMAGES = torch.tensor(
    [
        [[1.0, 2, 3, 2], [0, 0, 1, -1]],
        [[0, 1, 0, -1], [-2, -1, -3, -2]],
    ]
).view(2, 2, 2, 2)
NORMALISED = torch.tensor(
    [
        *(0, 0.816494, 1.632989, 0.816494, 0.499997, 0.499997, 1.499993, -0.499998),
        *(-0.577346, 0.577347, -0.577346, -1.732039, -0.755927, 0, -1.511854, -0.755927),
    ]
).view(2, 2, 2, 2)


def layer_of(channels, components, unmixing=None, seed=1):
    generator = torch.Generator().manual_seed(seed)
    layer = nn.BatchNorm2d(channels).eval()
    for tensor in (layer.running_mean, layer.running_var, layer.weight.data, layer.bias.data):
        tensor.copy_(torch.rand(channels, generator=generator) + 0.3)
    noise = torch.randn(components, channels, generator=generator)
    return layer, UnmixedBatchNorm(layer, noise, unmixing or Unmixing())


def test_the_worked_example():
    layer = UnmixedBatchNorm(nn.BatchNorm2d(2), torch.zeros(2, 2), Unmixing(whole_batch=2))
    layer.means.copy_(torch.tensor([[1.0, 0], [0, -1]]))
    layer.variances.copy_(torch.tensor([[0.5, 1], [0.5, 1]]))
    with following([layer]):
        torch.testing.assert_close(layer(IMAGES), NORMALISED, atol=1e-6, rtol=0)
    torch.testing.assert_close(layer.means, torch.tensor([[1.05, 0], [0, -1.05]]))
    torch.testing.assert_close(layer.variances, torch.tensor([[0.5, 0.975], [0.5, 0.975]]))


@pytest.mark.parametrize("between_means", [False, True])
def test_moments_are_those_of_all_components_written_out(between_means):
    generator = torch.Generator().manual_seed(0)
    own, own_var, means, variances = (
        torch.rand(rows, 5, generator=generator, dtype=torch.float64) + 0.1 for rows in (4, 4, 3, 3)
    )
    shares = component_shares(own, means)
    torch.testing.assert_close(shares.sum(1), torch.ones(4, dtype=torch.float64))
    p, far = shares[:, :, None], own[:, None] - means
    moved = (1 - p) * means + p * own[:, None]
    moved_var = (1 - p) * variances + p * own_var[:, None]
    if between_means:
        moved_var = moved_var + p * (1 - p) * far.square()
    expected = moved.mean(1), moved_var.mean(1) + moved.var(1, correction=0)
    found = unmixed_moments(own, own_var, (means, variances), shares, between_means)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_one_component_starts_at_the_source():
    plain, layer = layer_of(3, 1)
    assert torch.equal(layer.means[0], plain.running_mean)
    assert torch.equal(layer.variances[0], plain.running_var)
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(2))
    instance = nn.functional.instance_norm(x, weight=plain.weight, bias=plain.bias)
    torch.testing.assert_close(layer(x), instance)  # all of an image is of the only component


def test_components_have_the_source_variance_in_all():
    plain, layer = layer_of(2, 4096)
    spread = layer.means.var(0) / plain.running_var
    torch.testing.assert_close(spread, torch.full((2,), 0.5), atol=0.05, rtol=0)
    torch.testing.assert_close(layer.variances, (0.5 * plain.running_var).repeat(4096, 1))


@pytest.mark.parametrize(("images", "step"), [(64, 0.1), (1, 1 - 0.9 ** (1 / 64)), (128, 0.19)])
def test_a_step_is_by_the_images_in_the_batch(images, step):
    _, layer = layer_of(3, 2)
    x = torch.ones(images, 3, 2, 2) * torch.tensor([1.0, -1, 2]).view(3, 1, 1)
    means, own = layer.means.clone(), x[:1].mean((2, 3))
    shares = component_shares(own, means)
    with following([layer]):
        layer(x)
    torch.testing.assert_close(layer.means, means + step * shares.T * (own - means))


def test_only_following_moves():
    _, layer = layer_of(3, 4)
    before = [tensor.clone() for tensor in layer.components]
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(2))
    alone = layer(x)
    assert all(map(torch.equal, before, layer.components))
    with following([layer]):
        torch.testing.assert_close(layer(x), alone)  # normalised before they move
    assert not any(map(torch.equal, before, layer.components))
    assert not torch.allclose(layer(x), alone)


def test_an_image_does_not_see_the_others_of_its_batch():
    _, layer = layer_of(3, 4)
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(layer(x)[1:2], layer(x[1:2]))


def test_images_that_are_not_numbers_move_nothing():
    _, layer = layer_of(3, 4)
    _, other = layer_of(3, 4, Unmixing(whole_batch=48))
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(2))
    x[3, 1, 2, 2] = torch.nan
    with following([layer, other]):
        found = layer(x)
        other(x[:3])
    assert torch.isfinite(found[:3]).all()
    for one, another in zip(layer.components, other.components, strict=True):
        assert torch.isfinite(one).all()
        # Of the step there is three quarters, as of one with three images in a batch of four.
        torch.testing.assert_close(one, another, atol=1e-3, rtol=0)


def test_without_positions_the_source_statistics_stand():
    plain = nn.BatchNorm1d(3).eval()
    layer = UnmixedBatchNorm(plain, torch.randn(4, 3), Unmixing())
    x = torch.randn(6, 3)
    with following([layer]):
        torch.testing.assert_close(layer(x), plain(x))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_flow_through_an_images_own_statistics(layout):
    _, layer = layer_of(3, 4)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(4, 3, 5, 5, generator=generator).to(memory_format=layout).requires_grad_()
    target = torch.randn(4, 3, 5, 5, generator=generator)
    found = torch.autograd.grad((layer(x) * target).sum(), [x, layer.weight, layer.bias])

    own_var, own = torch.var_mean(x, (2, 3), correction=0)
    shares = component_shares(own.detach(), layer.means)
    mean, var = unmixed_moments(own, own_var, layer.components, shares, False)
    y = (x - mean[..., None, None]) / (var + layer.eps).sqrt()[..., None, None]
    y = y * layer.weight.view(3, 1, 1) + layer.bias.view(3, 1, 1)
    expected = torch.autograd.grad((y * target).sum(), [x, layer.weight, layer.bias])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_the_components_before_they_moved():
    gradients = []
    for follow in (False, True):
        _, layer = layer_of(3, 4)
        layer.follow = follow
        x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(2)).requires_grad_()
        layer(x).pow(3).sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)
