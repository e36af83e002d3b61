import pytest
import torch
from torch import nn

from tta.ops.norm.renorm import RenormBatchNorm, running_statistics, set_statistics


def make_layer(statistics="use") -> RenormBatchNorm:
    source = nn.BatchNorm2d(3).double().eval()
    generator = torch.Generator().manual_seed(0)
    for tensor in (source.weight, source.bias, source.running_mean, source.running_var):
        tensor.data.uniform_(0.5, 2.0, generator=generator)
    layer = RenormBatchNorm(source)
    layer.statistics = statistics
    return layer


def make_input(batch=4, size=5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 3, size, size, generator=generator, dtype=torch.float64)
    return 2 * x + 1


def column(tensor):
    return tensor.view(1, -1, 1, 1)


def by_definition(x, layer):
    """Write out ((x - mean_b) / std_b * r + d) * weight + bias."""
    mean, std = x.mean((0, 2, 3)), (x.var((0, 2, 3)) + layer.eps).sqrt()
    running_std = (layer.var + layer.eps).sqrt()
    r, d = std.detach() / running_std, (mean.detach() - layer.mean) / running_std
    normal = (x - column(mean)) / column(std)
    return (normal * column(r) + column(d)) * column(layer.weight) + column(layer.bias)


@pytest.mark.parametrize("needs_gradient", [False, True])
def test_values_are_those_of_the_running_statistics(needs_gradient):
    layer, x = make_layer(), make_input().requires_grad_(needs_gradient)
    normal = (x - column(layer.mean)) / column((layer.var + layer.eps).sqrt())
    torch.testing.assert_close(layer(x), normal * column(layer.weight) + column(layer.bias))


def test_gradients_are_those_of_the_definition():
    layer, x = make_layer(), make_input().requires_grad_()
    weights = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view_as(x).sin()
    inputs = (x, layer.weight, layer.bias)
    got = torch.autograd.grad((layer(x) * weights).sum(), inputs)
    expected = torch.autograd.grad((by_definition(x, layer) * weights).sum(), inputs)
    # eps enters the biased and the unbiased variance unlike: no more than eps / variance apart.
    for pair in zip(got, expected, strict=True):
        torch.testing.assert_close(*pair, rtol=1e-5, atol=1e-5)
    plain = torch.autograd.grad((layer(x.detach()) * weights).sum(), (layer.weight,))
    torch.testing.assert_close(plain[0], got[1])


def test_moving_follows_the_normalisation():
    layer, x = make_layer("move"), make_input()
    mean, var = layer.mean.clone(), layer.var.clone()
    resting = make_layer()(x)
    torch.testing.assert_close(layer(x), resting)
    torch.testing.assert_close(layer.mean, 0.9 * mean + 0.1 * x.mean((0, 2, 3)))
    torch.testing.assert_close(layer.var, 0.9 * var + 0.1 * x.var((0, 2, 3)))


def test_adopting_comes_before_it():
    layer, x = make_layer("adopt"), make_input()
    y = layer(x)
    torch.testing.assert_close(layer.mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(layer.var, x.var((0, 2, 3)))
    torch.testing.assert_close(y, by_definition(x, layer))


@pytest.mark.parametrize("statistics", ["use", "move", "adopt"])
def test_one_value_per_channel_uses_what_is_there(statistics):
    layer, x = make_layer(statistics), make_input(1, 1)
    mean = layer.mean.clone()
    torch.testing.assert_close(layer(x), make_layer()(x))
    assert torch.equal(layer.mean, mean)


def test_training_goes_through_a_moving_layer():
    model = nn.Sequential(make_layer("move"), nn.Conv2d(3, 3, 1).double(), make_layer("move"))
    model(make_input()).square().sum().backward()
    assert model[0].weight.grad.isfinite().all()


def test_other_layers_are_left_alone():
    layer = make_layer()
    set_statistics([layer], "move")
    assert layer.statistics == "move"
    assert [
        tensor is own
        for tensor, own in zip(running_statistics([layer]), (layer.mean, layer.var), strict=True)
    ] == [True, True]
