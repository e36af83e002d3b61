"""STAMP's memory, loss and schedule."""

import math

import pytest
import torch

from tests.methods.selective import IMAGES, make, parameters
from tests.methods.test_ostta import ADAPTED
from tta.methods.stamp import self_weighted_entropy
from tta.methods.stamp_memory import StableBank

EVERYTHING = {"margin": 2.0, "agreement": False, "views": 2}


def test_the_worked_example_of_the_loss():
    loss = self_weighted_entropy(ADAPTED, 64)
    torch.testing.assert_close(loss, torch.tensor(6.380728), atol=1e-5, rtol=0)


def numbered(labels, first=0):
    images = torch.arange(first, first + len(labels), dtype=torch.float32)
    return images.view(-1, 1, 1, 1), 9.0 * torch.eye(3)[labels]


def held(bank):
    slots = bank.occupied_slots()
    numbers = bank.images_in(slots).flatten().int().tolist()
    found = sorted(zip(bank.labels[slots].tolist(), numbers, strict=True))
    return [[number for label, number in found if label == wanted] for wanted in range(3)]


def test_the_class_that_held_most_gives_up_its_oldest():
    bank, generator = StableBank(4, 3), torch.Generator().manual_seed(0)
    images, logits = numbered([0, 1, 0, 0, 2])
    kept = torch.tensor([True, True, True, True, False])
    bank.insert(images, logits, kept, generator)
    assert held(bank) == [[0, 2, 3], [1], []]
    assert bank.use().shape == (4, 1, 1, 1)
    torch.testing.assert_close(bank.mean_held, torch.tensor([0.3, 0.1, 0.0]))
    bank.insert(*numbered([1, 2, 1], 10), torch.ones(3).bool(), generator)
    assert held(bank) == [[], [1, 10, 12], [11]]  # class 0 lost all, by its average
    bank.insert(*numbered([2], 20), torch.ones(1).bool(), generator)
    assert held(bank) == [[], [10, 12], [11, 20]]
    bank.use()
    torch.testing.assert_close(bank.mean_held, torch.tensor([0.27, 0.29, 0.2]))


def test_before_the_first_use_any_class_may_give_way():
    gone = set()
    for seed in range(20):
        bank, generator = StableBank(3, 3), torch.Generator().manual_seed(seed)
        bank.insert(*numbered([0, 1, 1, 2]), torch.ones(4).bool(), generator)
        (number,) = {0, 1, 2, 3} - {n for part in held(bank) for n in part}
        gone.add(number)
    assert gone == {0, 1}  # the oldest of a class


def test_outputs_are_the_mean_over_the_image_and_its_views():
    plain = make("stamp", "batch_norm", views=0, lr=0.0)
    torch.testing.assert_close(plain.step(IMAGES), plain.predict(IMAGES))
    for augmentation in ("cotta", "crop"):
        stamp = make("stamp", "batch_norm", views=3, lr=0.0, augmentation=augmentation)
        stamp.generator.manual_seed(5)
        found = stamp.step(IMAGES)
        stamp.generator.manual_seed(5)
        views = [IMAGES, *(stamp._view(IMAGES) for _ in range(3))]
        expected = torch.stack([stamp.predict(view) for view in views]).mean(0)
        torch.testing.assert_close(found, expected)
        assert not torch.equal(views[1], views[2])


def test_what_looks_known_is_minus_the_entropy_with_its_constant():
    stamp = make("stamp", "batch_norm")
    p = torch.tensor([[0.7, 0.2, 0.1, 0.0, 0.0]])
    expected = sum(x * math.log(x + 1e-5) for x in (0.7, 0.2, 0.1))
    assert stamp.score(p).item() == pytest.approx(expected, abs=1e-6)


def test_only_reliable_images_enter():
    for margin, agreement, expected in ((2.0, False, 8), (0.0, False, 0), (2.0, True, 8)):
        stamp = make("stamp", "batch_norm", views=1, margin=margin, agreement=agreement)
        stamp.step(IMAGES)
        assert len(stamp.bank.occupied_slots()) == expected
    disagreeing = make("stamp", "batch_norm", views=1, margin=2.0)
    disagreeing.source.classifier.weight.data.neg_()
    disagreeing.source.classifier.bias.data.neg_()
    start = parameters(disagreeing)
    disagreeing.step(IMAGES)
    assert len(disagreeing.bank.occupied_slots()) == 0
    assert torch.equal(parameters(disagreeing), start)
    assert disagreeing.steps == 0


def test_the_learning_rate_follows_pytorchs_schedule_and_reset_restarts_it():
    stamp = make("stamp", "layer_norm", lr=0.1, decay_steps=3, **EVERYTHING)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
    for _ in range(5):
        stamp.step(IMAGES)
        rate = stamp.optimizer.param_groups[0]["lr"]
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        schedule.step()
    stamp.reset()
    stamp.step(IMAGES)
    assert stamp.optimizer.param_groups[0]["lr"] == 0.1


def test_a_step_is_sharp_on_the_memory():
    stamp = make("stamp", "layer_norm", lr=0.01, frozen_share=0.0, **EVERYTHING)
    naive = make("stamp", "layer_norm", lr=0.01, frozen_share=0.0, **EVERYTHING)
    start = parameters(naive)

    def gradient():
        loss = self_weighted_entropy(naive.backbone(IMAGES), 64)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, naive.parameters)])

    uphill = gradient()
    torch.nn.utils.vector_to_parameters(start + 0.05 * uphill / uphill.norm(), naive.parameters)
    stamp.step(IMAGES)
    torch.testing.assert_close(parameters(stamp), start - 0.01 * gradient(), atol=1e-5, rtol=1e-4)
