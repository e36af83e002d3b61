"""TRIBE: its three networks, one step against its definition, and what takes no step."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.fakes import make_images
from tests.methods.selective import IMAGES, make, parameters
from tta.ops.norm.balanced import members_of, telling

SGD = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.0, "nesterov": False}
WIDE = {"margin": 2.0, "class_momentum": 0.1}


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def test_outputs_are_those_of_the_auxiliary_network_before_its_statistics_move():
    tribe = make("tribe", "batch_norm", **WIDE)
    source = tribe.backbone(IMAGES).detach()
    torch.testing.assert_close(tribe.step(IMAGES), source)
    expected = tribe.auxiliary(IMAGES).detach()
    assert not torch.allclose(expected, source, atol=1e-3)
    assert torch.equal(tribe.predict(IMAGES), expected)


def test_student_and_auxiliary_share_parameters_and_no_statistics():
    tribe = make("tribe", "batch_norm", **WIDE, lr=0.1)
    for seed in range(2):  # in the first batch the source's network is the auxiliary one
        tribe.step(make_images(6, seed))
    for ours, theirs in zip(tribe.backbone.parameters(), tribe.auxiliary.parameters(), strict=True):
        assert ours is theirs
    assert not any(p.requires_grad for p in tribe.anchor.parameters())
    thirds = len(tribe.statistics) // 3
    own = [flat(tribe.statistics[n * thirds : (n + 1) * thirds]) for n in range(3)]
    assert not any(torch.equal(own[a], own[b]) for a, b in ((0, 1), (1, 2), (0, 2)))


def test_one_step_against_its_definition():
    tribe, naive = (make("tribe", "batch_norm", **WIDE, **SGD, shared=0.2) for _ in range(2))
    start = parameters(naive)
    labels = naive.predict(IMAGES).argmax(1)
    view = naive.augment(IMAGES, torch.Generator().manual_seed(2))
    every = torch.ones(len(IMAGES), dtype=torch.bool)
    with telling(naive.layers, members_of(labels, every, naive.backbone.num_classes)):
        auxiliary = naive.auxiliary(IMAGES)
        student = naive.backbone(view)
        anchor = naive.anchor(IMAGES).detach()
    sure = torch.distributions.Categorical(logits=auxiliary).entropy() < naive.margin
    assert sure.any()
    loss = F.cross_entropy(student[sure], auxiliary.argmax(1)[sure])
    loss = loss + 0.5 * F.mse_loss(auxiliary[sure], anchor[sure])
    gradient = flat(torch.autograd.grad(loss, naive.parameters))

    tribe.step(IMAGES)
    torch.testing.assert_close(parameters(tribe), start - 0.1 * gradient, atol=1e-6, rtol=1e-3)
    for one, other in zip(tribe.statistics, naive.statistics, strict=True):
        torch.testing.assert_close(one, other)


def test_where_nothing_is_certain_statistics_move_alone():
    tribe = make("tribe", "batch_norm", margin=0.0, lr=0.1)
    start, before = parameters(tribe), flat(tribe.statistics)
    for seed in range(2):
        tribe.step(make_images(6, seed))
    assert torch.equal(parameters(tribe), start)
    assert not torch.equal(flat(tribe.statistics), before)
    assert not tribe.optimizer.state


def test_images_that_are_not_numbers_count_for_nothing():
    tribe = make("tribe", "batch_norm", **WIDE)
    start, before = parameters(tribe), flat(tribe.statistics)
    tribe.step(torch.full_like(IMAGES, torch.nan))
    assert torch.equal(parameters(tribe), start)
    torch.testing.assert_close(flat(tribe.statistics), before)
    some = IMAGES.clone()
    some[2, 0, 3, 3] = torch.nan
    found = tribe.step(some)
    kept = torch.arange(len(some)) != 2
    assert torch.isfinite(found[kept]).all() and not torch.isfinite(found[2]).any()
    assert torch.isfinite(flat(tribe.statistics)).all()
    assert torch.isfinite(parameters(tribe)).all()
    assert not torch.equal(parameters(tribe), start)


def test_a_reset_brings_back_statistics_of_classes():
    tribe = make("tribe", "batch_norm", **WIDE, shared=0.3)
    before = flat(tribe.statistics)
    tribe.step(IMAGES)
    assert not torch.equal(flat(tribe.statistics), before)
    tribe.reset()
    assert torch.equal(flat(tribe.statistics), before)
    assert tribe.statistics[0] is tribe.layers[0].means
