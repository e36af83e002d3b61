"""A linear classifier: its gradient against the predicted class is (p - onehot) x^T."""

import torch
from torch import nn

from tta.methods.eata_fisher import diagonal_fisher

IMAGES = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def make_classifier():
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-1, 1, 12).view(3, 4))
        layer.bias.zero_()
    return layer


def gradients(layer):
    p = layer(IMAGES).softmax(1).detach()
    residual = p - nn.functional.one_hot(p.argmax(1), 3)
    return torch.cat([(residual[:, :, None] * IMAGES[:, None]).flatten(1), residual], dim=1)


def test_single_images_give_the_mean_of_squared_gradients():
    layer = make_classifier()
    fisher = diagonal_fisher(layer, list(layer.parameters()), IMAGES.split(1))
    torch.testing.assert_close(fisher, gradients(layer).square().mean(0))


def test_groups_give_the_mean_of_squared_mean_gradients():
    layer = make_classifier()
    fisher = diagonal_fisher(layer, list(layer.parameters()), IMAGES.split(3))
    means = torch.stack([part.mean(0) for part in gradients(layer).split(3)])
    torch.testing.assert_close(fisher, means.square().mean(0))


def test_no_gradient_is_left_behind():
    layer = make_classifier()
    unused = nn.Parameter(torch.ones(2))
    fisher = diagonal_fisher(layer, [*layer.parameters(), unused], IMAGES.split(1))
    assert fisher[-2:].tolist() == [0, 0]
    assert layer.weight.grad is None
