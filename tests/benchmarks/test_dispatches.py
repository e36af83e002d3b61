"""A step hands as many operators to the device for many images as for few."""

from __future__ import annotations

import pytest
import torch

from benchmarks.timing.dispatches import OperatorCounter, operators
from tests.fakes import make_backbone, make_images, make_source
from tta.methods import METHODS
from tta.ops.views.augment import CottaAugment

BANKS = {"note": 28, "rotta": 38, "petta": 84}
"""Most operators of a batch beside the network, without the augmentation of stored images. In
PeTTA about 50 are its losses, its pull to the source and the divergence of its features."""
AUGMENTATION = 66


def started(name, **params):
    method = METHODS[name]
    made = method(make_backbone("batch_norm"), method.Params(**params), seed=0)
    made.start(make_source())
    return made


@pytest.mark.parametrize("name", BANKS)
def test_methods_with_a_bank_hand_over_few_operators(name):
    params = {"convert_batch_norm": True} if name == "note" else {}
    counts = []
    for batch in (64, 128):
        if name != "petta":
            params["update_interval"] = batch
        method = started(name, **params)
        method.augment = lambda images, generator: images
        method.step(make_images(batch))
        counts.append(operators(method.step, make_images(batch, 1)).total)
    assert counts[0] == counts[1] <= BANKS[name]


def test_the_augmentation_hands_over_as_many_operators_for_any_batch():
    for batch in (4, 64):
        with OperatorCounter() as counter:
            CottaAugment()(make_images(batch), torch.Generator().manual_seed(0))
        assert counter.total <= AUGMENTATION


def test_the_network_is_counted_apart_from_what_is_beside_it():
    backbone, images = make_backbone("batch_norm"), make_images(2)
    backbone.requires_grad_(True)

    def step(batch):
        (backbone(batch) + 1).sum().backward()

    counter = operators(step, images)
    assert counter.beside == {"aten::add": 1, "aten::sum": 1}
    assert counter.network > 20


def test_the_counter_leaves_what_it_watches_as_it_was():
    backward = torch.Tensor.backward
    with OperatorCounter() as counter:
        torch.ones(3)[1:].detach() + 1
    assert torch.Tensor.backward is backward
    assert counter.beside == {"aten::ones": 1, "aten::add": 1}
