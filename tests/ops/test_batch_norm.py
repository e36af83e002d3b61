"""Mixed batch-norm statistics against their definition in float64."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from tests.fakes import make_backbone, make_images
from tta.foundation.errors import UserError
from tta.ops.norm import batch_norm
from tta.ops.norm import mixed_batch_norm as mixed
from tta.ops.norm.batch_norm import (
    AdaptiveBatchNorm,
    RobustBatchNorm,
    following,
    replace_batch_norm,
    require_source_statistics,
)
from tta.ops.norm.mixed_batch_norm import batch_moments, mixed_batch_norm


def naive(x, source, weight, bias, target_weight, eps, unbiased=False):
    dims = [dim for dim in range(x.dim()) if dim != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    mean = (1 - target_weight) * source[0] + target_weight * x.mean(dims)
    batch_var = x.var(dims, correction=1 if unbiased else 0)
    var = (1 - target_weight) * source[1] + target_weight * batch_var
    normal = (x - mean.view(shape)) / (var + eps).sqrt().view(shape)
    return normal * weight.view(shape) + bias.view(shape)


def layer_inputs(shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator, dtype=dtype) * 3 + 5
    channels = torch.rand(4, shape[1], generator=generator, dtype=dtype) + 0.5
    return x, (channels[0], channels[1]), channels[2], channels[3]


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (0.1, [0.544508, 1.382213, 3.057623, 5.570737]),
        (0.5, [-0.424263, 0.141421, 1.272790, 2.969844]),
        (1.0, [-1.091088, -0.654653, 0.218218, 1.527524]),
    ],
)
def test_golden_vector(weight, expected):
    x = torch.tensor([1.0, 2, 4, 7]).view(4, 1)
    source = torch.zeros(1), torch.ones(1)
    y = mixed_batch_norm(x, source, None, None, weight, 1e-5)
    torch.testing.assert_close(y[:, 0], torch.tensor(expected), rtol=0, atol=2e-6)


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 4), (6, 3, 4, 5), (2, 3, 2, 2, 2)])
@pytest.mark.parametrize("target_weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_agrees_with_the_definition(shape, target_weight, unbiased, grad):
    x, source, weight, bias = layer_inputs(shape)
    x.requires_grad_(grad)
    y = mixed_batch_norm(x, source, weight, bias, target_weight, 1e-5, unbiased)
    doubles = [tensor.double() for tensor in (x, *source, weight, bias)]
    expected = naive(doubles[0], doubles[1:3], *doubles[3:], target_weight, 1e-5, unbiased)
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target_weight", [0.0, 0.3, 1.0])
def test_gradients_flow_through_the_batch_statistics(target_weight):
    x, source, weight, bias = layer_inputs((5, 2, 3, 3), torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    ours = torch.autograd.grad(
        mixed_batch_norm(x, source, weight, bias, target_weight, 1e-5).pow(3).sum(), inputs
    )
    definition = torch.autograd.grad(
        naive(x, source, weight, bias, target_weight, 1e-5).pow(3).sum(), inputs
    )
    torch.testing.assert_close(ours, definition, rtol=1e-5, atol=1e-6)


def test_no_target_weight_is_the_source_and_full_weight_is_bn_one_exactly():
    x, source, weight, bias = layer_inputs((6, 3, 4, 4))
    zero = mixed_batch_norm(x, source, weight, bias, 0.0, 1e-5)
    one = mixed_batch_norm(x, source, weight, bias, 1.0, 1e-5)
    assert torch.equal(zero, F.batch_norm(x, *source, weight, bias, False))
    assert torch.equal(one, F.batch_norm(x, None, None, weight, bias, True))


def test_far_means_and_small_spreads_keep_their_digits():
    generator = torch.Generator().manual_seed(0)
    x = 100 + 0.01 * torch.randn(64, 2, 8, 8, generator=generator)
    source = torch.full((2,), 100.0), torch.full((2,), 1e-4)
    weight, bias = torch.ones(2), torch.zeros(2)
    y = mixed_batch_norm(x, source, weight, bias, 0.5, 1e-5)
    expected = naive(x.double(), [s.double() for s in source], weight, bias, 0.5, 1e-5)
    assert torch.isfinite(y).all()
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=2e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_moments_and_statistics_of_half_precision_are_float32(dtype, channels_last):
    x, source, weight, bias = layer_inputs((8, 3, 6, 6))
    x = x.to(dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    for found, expected in zip(batch_moments(x), batch_moments(x.float()), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    x.requires_grad_()
    y = mixed_batch_norm(x, source, weight.requires_grad_(), bias, 0.3, 1e-5)
    expected = mixed_batch_norm(x.float(), source, weight, bias, 0.3, 1e-5)
    torch.testing.assert_close(y.float(), expected, rtol=1e-2, atol=2e-2)
    y.float().square().sum().backward()
    assert x.grad.dtype == dtype and weight.grad.dtype == torch.float32


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("between_means", [False, True])
def test_gradient_of_mixed_statistics(channels_last, unbiased, between_means):
    x, source, weight, bias = layer_inputs((5, 2, 3, 3), torch.float64)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    inputs = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    options = {"unbiased": unbiased, "between_means": between_means}

    def normalized(*inputs):
        return mixed_batch_norm(inputs[0], source, *inputs[1:], 0.3, 1e-5, **options)

    assert torch.autograd.gradcheck(normalized, inputs)


def test_gradient_without_affine_parameters():
    x, source, _, _ = layer_inputs((5, 2, 3), torch.float64)
    x.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: mixed_batch_norm(x, source, None, None, 0.3, 1e-5), [x]
    )


@pytest.mark.parametrize("shape", [(50, 16, 32, 32), (3, 5, 7, 7, 7), (997, 3), (1, 3, 5, 1)])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kernel", [(), ("cpu",)], ids=["without", "with"])
def test_moments_keep_their_digits(shape, channels_last, kernel, monkeypatch):
    monkeypatch.setattr(mixed, "_HAVE_KERNEL", kernel)
    generator = torch.Generator().manual_seed(0)
    x = 3 + torch.randn(shape, generator=generator)
    if channels_last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    mean, var = batch_moments(x)
    dims = [dim for dim in range(x.dim()) if dim != 1]
    expected_var, expected_mean = torch.var_mean(x.double(), dims, correction=0)
    torch.testing.assert_close(mean.double(), expected_mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(var.double(), expected_var, rtol=2e-6, atol=0)


@pytest.mark.parametrize("target_weight", [0.3, 1.0])
@pytest.mark.parametrize("unbiased", [False, True])
def test_one_value_per_channel_falls_back_to_the_source(target_weight, unbiased):
    x, source, weight, bias = layer_inputs((1, 3, 1, 1))
    y = mixed_batch_norm(x, source, weight, bias, target_weight, 1e-5, unbiased)
    assert torch.equal(y, F.batch_norm(x, *source, weight, bias, False))
    alone = mixed_batch_norm(x, None, weight, bias, 1.0, 1e-5)
    torch.testing.assert_close(alone.view(-1), bias, rtol=0, atol=1e-3)


def test_inputs_and_source_statistics_stay_as_they_are():
    x, source, weight, bias = layer_inputs((6, 3, 4, 4))
    copies = [tensor.clone() for tensor in (x, *source)]
    mixed_batch_norm(x, source, weight, bias, 0.3, 1e-5)
    assert all(torch.equal(*pair) for pair in zip((x, *source), copies, strict=True))


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_zero_target_weight_leaves_a_model_as_it_was_also_with_fused_activations(name):
    model = timm.create_model(name, num_classes=5).eval()
    images = make_images(3)
    with torch.no_grad():
        expected = model(images)
        layers = replace_batch_norm(model, lambda layer: AdaptiveBatchNorm(layer, 0.0))
        torch.testing.assert_close(model(images), expected)
    assert layers


def test_later_train_and_eval_calls_change_nothing():
    backbone = make_backbone("batch_norm")
    replace_batch_norm(backbone, lambda layer: AdaptiveBatchNorm(layer, 0.3))
    layers = [m for m in backbone.modules() if isinstance(m, AdaptiveBatchNorm)]
    images = make_images(4)
    with torch.no_grad():
        first = backbone(images)
        for layer in layers:
            layer.train()
        second = backbone(images)
    assert torch.equal(first, second)


def test_a_shared_layer_stays_shared_and_parameters_are_the_same_objects():
    layer = nn.BatchNorm1d(3)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    parameters = list(model.parameters())
    replaced = replace_batch_norm(model)
    assert len(replaced) == 1
    assert model[0] is model[2]
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))


def test_layers_without_source_statistics_are_refused_by_name():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))
    with pytest.raises(UserError, match="'1' keeps no running statistics"):
        require_source_statistics(model)


def test_robust_batch_norm_follows_as_defined_and_keeps_its_statistics_otherwise():
    x, source, weight, bias = layer_inputs((6, 3, 4, 4))
    plain = nn.BatchNorm2d(3).eval()
    for own, given in zip((plain.running_mean, plain.running_var), source, strict=True):
        own.copy_(given)
    plain.weight.data.copy_(weight)
    plain.bias.data.copy_(bias)
    robust = RobustBatchNorm(plain, momentum=0.05)
    torch.testing.assert_close(robust(x), plain(x))
    with following([robust]):
        inputs = x.clone().requires_grad_()
        y = robust(inputs)
        (gradient,) = torch.autograd.grad(y.pow(3).sum(), inputs)
    definition = x.clone().requires_grad_()
    expected = naive(definition, source, weight, bias, 0.05, 1e-5)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    (by_definition,) = torch.autograd.grad(expected.pow(3).sum(), definition)
    torch.testing.assert_close(gradient, by_definition, rtol=1e-3, atol=1e-3)
    moved = 0.95 * source[0] + 0.05 * x.mean((0, 2, 3))
    torch.testing.assert_close(robust.running_mean, moved)
    biased = x.var((0, 2, 3), correction=0)
    torch.testing.assert_close(robust.running_var, 0.95 * source[1] + 0.05 * biased)
    torch.testing.assert_close(robust(x), naive(x, source, weight, bias, 0.05, 1e-5))
    assert torch.equal(plain.running_mean, source[0])


def test_robust_batch_norm_takes_the_moments_of_a_batch_once(monkeypatch):
    robust, calls = RobustBatchNorm(nn.BatchNorm2d(3)), []
    for module in (batch_norm, mixed):
        monkeypatch.setattr(module, "batch_moments", lambda x: calls.append(x) or batch_moments(x))
    with following([robust]):
        robust(torch.rand(4, 3, 2, 2))
    assert len(calls) == 1


@pytest.mark.parametrize("shape", [(1, 32, 30, 41), (1, 7, 13, 17), (1, 96, 60, 80)])
@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_moments_of_a_single_image_are_as_exact_as_those_of_a_batch(shape, offset):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) + offset
    x = x.contiguous(memory_format=torch.channels_last)
    mean, var = batch_moments(x)
    exact = x.double()
    assert torch.allclose(mean.double(), exact.mean((0, 2, 3)), rtol=1e-6, atol=1e-6)
    assert torch.allclose(var.double(), exact.var((0, 2, 3), correction=0), rtol=2e-6)


@pytest.mark.parametrize("shape", [(1, 8, 6, 5), (1, 12, 45, 60), (4, 6, 20, 30)])
@pytest.mark.parametrize("options", [{}, {"unbiased": True}, {"between_means": True}])
def test_without_a_gradient_values_are_the_same_bit_for_bit(shape, options):
    x = torch.randn(shape).to(memory_format=torch.channels_last)
    channels = shape[1]
    rest = (torch.randn(channels), torch.rand(channels) + 0.5), *torch.rand(2, channels), 0.3, 1e-5
    with torch.no_grad():
        alone = mixed_batch_norm(x, *rest, **options)
    assert torch.equal(alone, mixed_batch_norm(x.requires_grad_(True), *rest, **options))


def test_maps_are_folded_no_further_than_sums_must_be_short():
    assert mixed._fold_factor(12 * 15, 672, True) == 1  # of 180 values
    assert mixed._fold_factor(45 * 60, 96, True) == 12  # of 225
    assert mixed._fold_factor(8 * 112 * 112, 64, True) == 128  # longer ones: the row is full
    assert mixed._fold_factor(64 * 32 * 32, 16, False) == 512  # of many images it always is
