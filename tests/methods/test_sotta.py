"""SoTTA's bank and step."""

import math

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from tests.methods.selective import IMAGES, make, parameters
from tta.methods.sotta_memory import ConfidentBank
from tta.ops.losses import damped_entropy
from tta.ops.memory import array_of

STREAM = [(0, 0.95), (1, 0.5), (0, 0.99), (2, 0.92), (0, 0.91), (1, 0.97), (0, 0.96), (2, 0.99)]
COUNTS = [
    [1, 0, 0],
    [1, 0, 0],
    [2, 0, 0],
    [2, 0, 1],
    [3, 0, 1],
    [2, 1, 1],
    [2, 1, 1],
    [1, 1, 2],
]


def arrival(number, label, confidence):
    logits = torch.full((1, 3), math.log((1 - confidence) / 2))
    logits[0, label] = math.log(confidence)
    return torch.full((1, 1, 1, 1), float(number)), logits


def counts(bank):
    return torch.bincount(bank.labels, minlength=4)[:3].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_the_worked_example_of_the_bank(seed):
    generator = torch.Generator().manual_seed(seed)
    bank = ConfidentBank(4, 3, 0.9)
    for number, (entry, expected) in enumerate(zip(STREAM, COUNTS, strict=True)):
        bank.insert(*arrival(number, *entry), generator)
        assert counts(bank) == expected
    held = bank.images_in(bank.occupied_slots()).flatten().tolist()
    assert [STREAM[int(number)][0] for number in held] == bank.labels.tolist()
    assert 7 in held
    assert 1 not in held


def test_a_batch_ends_as_its_images_one_by_one():
    whole, single = ConfidentBank(4, 3, 0.9), ConfidentBank(4, 3, 0.9)
    draws = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    pairs = [arrival(number, *entry) for number, entry in enumerate(STREAM)]
    whole.insert(torch.cat([x for x, _ in pairs]), torch.cat([z for _, z in pairs]), draws[0])
    for pair in pairs:
        single.insert(*pair, draws[1])
    assert torch.equal(whole.labels, single.labels)
    assert torch.equal(whole.images, single.images)


def test_any_image_of_the_class_may_leave():
    left = set()
    for seed in range(40):
        bank = ConfidentBank(3, 3, 0.0)
        labels = [0, 0, 0]
        probabilities = torch.tensor([0.9])
        bank._place(labels, array_of(probabilities.expand(3)), array_of(torch.zeros(3)))
        drawn = torch.rand(1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        (slot,) = bank._place([0], array_of(probabilities), array_of(drawn))
        left.add(slot)
    assert left == {0, 1, 2}


PARAMS = {"confidence_threshold": 0.0, "memory_size": 8, "update_interval": 8}


def test_an_update_is_sharp_and_moves_the_statistics_twice():
    sotta = make("sotta", "batch_norm", optimizer="sgd", momentum=0.0, lr=0.1, **PARAMS)
    naive = make("bn", "batch_norm")
    before = parameters(sotta)
    outputs = sotta.step(IMAGES)
    source = make("source", "batch_norm")
    torch.testing.assert_close(outputs, source.predict(IMAGES))

    trained = {p.data_ptr(): p for p in sotta.parameters}
    names = [n for n, p in sotta.backbone.named_parameters() if p.data_ptr() in trained]
    own = dict(naive.backbone.named_parameters())
    theta = [own[name].requires_grad_(True) for name in names]
    start = torch.cat([p.detach().flatten() for p in theta])
    torch.testing.assert_close(start, before)

    def gradient():
        p = naive.backbone(IMAGES).softmax(1)
        parts = torch.autograd.grad(damped_entropy(p, 1e-6).mean(), theta)
        return torch.cat([part.flatten() for part in parts])

    uphill = gradient()
    torch.nn.utils.vector_to_parameters(start + 0.05 * uphill / uphill.norm(), theta)
    torch.testing.assert_close(parameters(sotta), start - 0.1 * gradient(), atol=1e-5, rtol=1e-4)

    first, followed = (
        next(m for m in method.backbone.modules() if isinstance(m, _BatchNorm))
        for method in (source, sotta)
    )
    seen = []
    first.register_forward_pre_hook(lambda layer, args: seen.append(args[0]))
    source.predict(IMAGES)
    # Two forward passes: 1 - 0.8^2 of the way.
    expected = 0.64 * first.running_mean + 0.36 * seen[0].mean((0, 2, 3))
    torch.testing.assert_close(followed.running_mean, expected, atol=1e-5, rtol=1e-4)


def test_an_empty_bank_changes_nothing():
    sotta = make("sotta", "batch_norm", **{**PARAMS, "confidence_threshold": 1.0})
    start = parameters(sotta)
    sotta.step(IMAGES)
    assert len(sotta.bank.occupied_slots()) == 0
    assert torch.equal(parameters(sotta), start)
    assert sotta.seen == 8


def test_predictions_do_not_depend_on_the_size_of_batches():
    whole, parts = (make("sotta", "batch_norm", **PARAMS) for _ in range(2))
    images = torch.cat([IMAGES, IMAGES.flip(3), IMAGES.flip(2)])
    expected = whole.step(images)
    found = torch.cat([parts.step(part) for part in images.split(5)])
    torch.testing.assert_close(found, expected)
