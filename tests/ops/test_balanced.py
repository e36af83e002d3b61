"""Balanced batch norm against the worked examples and a loop over classes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tta.ops.norm.balanced import (
    BalancedBatchNorm,
    balanced_moments,
    balanced_update,
    members_of,
    telling,
)

VALUES = torch.tensor([1.0, 2, 4, 7])[:, None]
LABELS = torch.tensor([0, 0, 1, 0])
ALL = torch.ones(4, dtype=torch.bool)


@pytest.mark.parametrize(
    ("shared", "means", "variances", "mean", "var"),
    [
        (0.0, [1, 0.4, 0], [5.1, 2.34, 1], 0.466667, 3.066667),
        (0.1, [0.97, 0.43, 0.07], [4.8882, 2.45388, 1.272], 0.49, 3.07656),
    ],
)
def test_the_worked_examples(shared, means, variances, mean, var):
    start = torch.zeros(3, 1), torch.ones(3, 1)
    members = members_of(LABELS, ALL, 3)
    found = balanced_update(VALUES, torch.zeros(4, 1), members, start, 0.1, shared)
    torch.testing.assert_close(found[0][:, 0], torch.tensor(means), atol=1e-6, rtol=0)
    torch.testing.assert_close(found[1][:, 0], torch.tensor(variances), atol=1e-5, rtol=0)
    overall = torch.cat(balanced_moments(*found))
    torch.testing.assert_close(overall, torch.tensor([mean, var]), atol=1e-5, rtol=0)


def layer_of(channels, classes, momentum=0.1, shared=0.0):
    generator = torch.Generator().manual_seed(1)
    layer = nn.BatchNorm2d(channels).eval()
    for tensor in (layer.running_mean, layer.running_var, layer.weight.data, layer.bias.data):
        tensor.copy_(torch.rand(channels, generator=generator) + 0.3)
    return layer, BalancedBatchNorm(layer, classes, momentum, shared)


def activations(count, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 4, 4, generator=generator) + 0.5


def looped(x, labels, means, variances, momentum, shared):
    """The rule, class by class, on all values of a class at once."""
    moves, spreads, kept = {}, {}, {}
    for k in labels.unique().tolist():
        mine = x[labels == k]
        weight = 1 / len(mine) if len(mine) > 1 / momentum else momentum
        distance = mine - means[k].view(-1, 1, 1)
        moves[k] = weight * distance.mean((2, 3)).sum(0)
        spreads[k] = weight * distance.square().mean((2, 3)).sum(0) - moves[k].square()
        kept[k] = weight * len(mine)
    for k in moves:
        means[k] += (1 - shared) * moves[k]
        variances[k] += (1 - shared) * (spreads[k] - kept[k] * variances[k])
    means += shared * torch.stack(list(moves.values())).mean(0)
    share = sum(kept.values()) / len(kept)
    variances += shared * (torch.stack(list(spreads.values())).mean(0) - share * variances)
    return means, variances


@pytest.mark.parametrize("shared", [0.0, 0.3])
def test_a_layer_is_the_loop_over_classes(shared):
    plain, layer = layer_of(3, 5, momentum=0.3, shared=shared)
    classes = [moment.repeat(5, 1) for moment in (plain.running_mean, plain.running_var)]
    for seed in range(3):
        x = activations(8, seed)
        labels = torch.tensor([0, 1, 1, 4, 4, 4, 4, seed])
        classes = looped(x, labels, *classes, 0.3, shared)
        with telling([layer], members_of(labels, torch.ones(8, dtype=torch.bool), 5)):
            found = layer(x)
        torch.testing.assert_close(layer.means, classes[0])
        torch.testing.assert_close(layer.variances, classes[1])
        mean, var = classes[0].mean(0), classes[1].mean(0) + classes[0].var(0)
        expected = nn.functional.batch_norm(x, mean, var, plain.weight, plain.bias)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(layer(x), found)  # with what is kept


def test_it_starts_as_the_source_and_stays_so_untold():
    plain, layer = layer_of(3, 5)
    x = activations(6)
    for _ in range(2):
        torch.testing.assert_close(layer(x), plain(x))
    assert not layer.moves_statistics


def test_statistics_are_the_same_however_unequal_the_classes():
    many, few = (layer_of(3, 2, momentum=0.01)[1] for _ in range(2))
    x = activations(2)
    for count, layer in ((150, many), (300, few)):  # both above 1 / momentum
        images = torch.cat([x[:1].expand(count, -1, -1, -1), x[1:].expand(120, -1, -1, -1)])
        labels = torch.tensor([0] * count + [1] * 120)
        with telling([layer], members_of(labels, torch.ones(len(labels)).bool(), 2)):
            layer(images)
    for one, other in zip(many.statistics, few.statistics, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shared", [0.0, 0.3])
def test_gradients_flow_through_the_statistics(shared):
    plain, layer = layer_of(3, 5, momentum=0.3, shared=shared)
    x = activations(8).requires_grad_()
    labels = torch.tensor([0, 1, 1, 4, 4, 4, 4, 2])
    target = activations(8, 9)
    with telling([layer], members_of(labels, torch.ones(8, dtype=torch.bool), 5)):
        loss = (layer(x) * target).sum()
    found = torch.autograd.grad(loss, [x, layer.weight, layer.bias])

    classes = (moment.repeat(5, 1) for moment in (plain.running_mean, plain.running_var))
    means, variances = looped(x, labels, *classes, 0.3, shared)
    mean, var = means.mean(0), variances.mean(0) + means.var(0)
    y = (x - mean.view(-1, 1, 1)) / (var + plain.eps).sqrt().view(-1, 1, 1)
    y = y * plain.weight.view(-1, 1, 1) + plain.bias.view(-1, 1, 1)
    expected = torch.autograd.grad((y * target).sum(), [x, plain.weight, plain.bias])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_images_that_do_not_count_move_nothing():
    _, layer = layer_of(3, 5)
    _, other = layer_of(3, 5)
    x = activations(4)
    x[3] = torch.nan
    labels = torch.tensor([0, 1, 1, 0])
    with telling([layer], members_of(labels, torch.tensor([True, True, True, False]), 5)):
        found = layer(x)
    with telling([other], members_of(labels[:3], torch.ones(3).bool(), 5)):
        expected = other(x[:3])
    torch.testing.assert_close(found[:3], expected)
    for one, another in zip(layer.statistics, other.statistics, strict=True):
        torch.testing.assert_close(one, another)
    before = [tensor.clone() for tensor in layer.statistics]
    with telling([layer], members_of(labels, torch.zeros(4).bool(), 5)):
        layer(x)
    for one, another in zip(before, layer.statistics, strict=True):
        torch.testing.assert_close(one, another)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 6)])
def test_features_and_sequences_are_normalised_alike(shape):
    plain, layer = layer_of(3, 2)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    maps = x.view(*shape, *[1] * (4 - len(shape)))
    _, same = layer_of(3, 2)
    members = members_of(torch.tensor([0, 1, 1, 1]), ALL, 2)
    with telling([layer, same], members):
        torch.testing.assert_close(layer(x).view(maps.shape), same(maps))


def test_one_class_has_no_variance_between_classes():
    _, layer = layer_of(3, 1)
    with telling([layer], members_of(torch.zeros(4).long(), ALL, 1)):
        assert torch.isfinite(layer(activations(4))).all()
