"""Instance-aware batch norm against loops over images and channels."""

import math

import pytest
import torch
from torch import nn

from tta.ops.norm.batch_norm import following
from tta.ops.norm.instance_aware import InstanceAwareBatchNorm, instance_aware_moments


def naive_moments(x, mean, var, k, eps):
    B, C = x.shape[:2]
    means, variances = torch.empty(B, C), torch.empty(B, C)
    for b in range(B):
        for c in range(C):
            values = x[b, c].flatten()
            L = len(values)
            off, var_off = values.mean() - mean[c], values.var() - var[c]
            limit, var_limit = (
                k * math.sqrt((var[c] + eps) / L),
                k * (var[c] + eps) * math.sqrt(2 / (L - 1)),
            )
            means[b, c] = mean[c] + math.copysign(max(abs(off) - limit, 0), off)
            variances[b, c] = var[c] + math.copysign(max(abs(var_off) - var_limit, 0), var_off)
    return means, variances.clamp_min(0)


def activations(*shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    return x * torch.linspace(0.1, 3, shape[0]).view(-1, *[1] * (len(shape) - 1)) + 0.5


@pytest.mark.parametrize("k", [0.0, 0.5, 4.0])
@pytest.mark.parametrize("shape", [(5, 3, 4, 4), (5, 3, 6)])
def test_moments_agree_with_loops(k, shape):
    x, mean, var = activations(*shape), torch.tensor([0.0, 0.5, 1.0]), torch.tensor([1.0, 0.5, 2.0])
    shape = [1, -1] + [1] * (x.dim() - 2)
    own_var, own_mean = torch.var_mean(x, list(range(2, x.dim())), keepdim=True)
    given = mean.view(shape), var.view(shape)
    off, corrected = instance_aware_moments(own_mean, own_var, *given, x[0, 0].numel(), k, 1e-5)
    moments = own_mean - off, corrected
    for found, expected in zip(moments, naive_moments(x, mean, var, k, 1e-5), strict=True):
        torch.testing.assert_close(found.reshape(expected.shape), expected, atol=1e-5, rtol=1e-4)


def layer_of(channels, momentum=0.01):
    layer = nn.BatchNorm2d(channels)
    generator = torch.Generator().manual_seed(1)
    for tensor in (layer.running_mean, layer.running_var, layer.weight.data, layer.bias.data):
        tensor.copy_(torch.rand(channels, generator=generator) + 0.2)
    return layer.eval(), InstanceAwareBatchNorm(layer, momentum)


def test_images_that_fit_the_statistics_are_normalised_as_by_batch_norm():
    plain, aware = layer_of(3)
    noise = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    noise = (noise - noise.mean((2, 3), keepdim=True)) / noise.std((2, 3), keepdim=True)
    x = noise * plain.running_var.view(1, -1, 1, 1).sqrt() + plain.running_mean.view(1, -1, 1, 1)
    torch.testing.assert_close(aware(x), plain(x))
    assert not torch.allclose(aware(3 * x + 5), plain(3 * x + 5), atol=0.1)


def test_an_image_is_normalised_by_itself_unless_the_layer_follows():
    _, aware = layer_of(3)
    x = activations(4, 3, 5, 5)
    torch.testing.assert_close(aware(x)[1:2], aware(x[1:2]))
    with following([aware]):
        assert not torch.allclose(aware(x)[1:2], aware(x[1:2]), atol=1e-3)


def test_following_moves_the_statistics_to_the_unbiased_ones_of_the_batch():
    plain, aware = layer_of(3, momentum=0.25)
    x = activations(4, 3, 5, 5)
    with following([aware]):
        aware(x)
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    torch.testing.assert_close(aware.running_mean, 0.75 * plain.running_mean + 0.25 * mean)
    torch.testing.assert_close(aware.running_var, 0.75 * plain.running_var + 0.25 * var)


def test_a_single_position_has_no_statistics_of_its_own():
    plain, aware = layer_of(3)
    x = activations(4, 3, 1, 1)
    torch.testing.assert_close(aware(x), plain(x))
    with following([aware]):
        torch.testing.assert_close(aware(x[:1]), plain(x[:1]))


def test_constant_channels_have_finite_gradients():
    _, aware = layer_of(2)
    x = torch.zeros(3, 2, 4, 4, requires_grad=True)
    with following([aware]):
        aware(x).square().sum().backward()
    assert torch.isfinite(x.grad).all()


def plainly(layer, x, follow):
    """The layer's function of float64 tensors, as the paper writes it, and what is at no limit."""
    mean, var = (t.double().view(1, -1, 1, 1) for t in layer.source_moments)
    if follow:
        var, mean = torch.var_mean(x, (0, 2, 3), keepdim=True)
    own_var, own_mean = torch.var_mean(x, (2, 3), keepdim=True)
    count = x[0, 0].numel()
    error = 4 * ((var + layer.eps) / count).sqrt()
    var_error = 4 * (var + layer.eps) * math.sqrt(2 / (count - 1))
    off, var_off = own_mean - mean, own_var - var
    sharp = ((off.abs() / error - 1).abs() > 1e-3) & ((var_off.abs() / var_error - 1).abs() > 1e-3)
    mean = mean + off - off.clamp(-error, error)
    var = (var + var_off - var_off.clamp(-var_error, var_error)).relu()
    weight, bias = (t.double().view(1, -1, 1, 1) for t in (layer.weight, layer.bias))
    return (x - mean) / (var + layer.eps).sqrt() * weight + bias, sharp


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("shift", "bound"), [(0.0, 1e-6), (100.0, 2e-5)])
def test_outputs_and_gradients_are_those_of_float64_to_rounding(follow, layout, shift, bound):
    """In shares of the largest value; more where means are a thousand of the least deviation.

    Left out are gradients of images that lie at a limit, on whose two sides they differ.
    """
    _, aware = layer_of(16)
    aware.running_mean += shift
    x = (activations(6, 16, 8, 8) + shift).contiguous(memory_format=layout).requires_grad_()
    wide = x.detach().double().requires_grad_()
    inputs = [aware.weight.requires_grad_(), aware.bias.requires_grad_()]
    expected, sharp = plainly(aware, wide, follow)
    assert sharp.float().mean() > 0.95
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(3)) * sharp
    expected = [expected, *torch.autograd.grad(expected, [wide, *inputs], weights.double())]
    if follow:
        with following([aware]):
            y = aware(x)
    else:
        y = aware(x)
    found = [y, *torch.autograd.grad(y, [x, *inputs], weights)]
    for value, exact in zip(found, expected, strict=True):
        scale = exact.detach().abs().max()
        assert ((value - exact).detach().abs().max() / scale).item() < bound
