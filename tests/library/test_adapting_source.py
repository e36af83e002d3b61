"""Source images for tta.adapt, in any form."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

import tta
from tests.library.adapting import BATCHES, IMAGES, LABELS, SIZE, SOURCE
from tests.own_nets import OwnNet, made
from tta.foundation.errors import UserError


class OfSource(IterableDataset):
    def __iter__(self):
        return iter(zip(IMAGES, LABELS, strict=True))


def forms_of_source():
    whole = TensorDataset(IMAGES, LABELS)
    return {
        "batches": SOURCE,
        "tensors": (IMAGES, LABELS),
        "generator": iter(SOURCE),
        "dataset": whole,
        "subset": Subset(whole, range(12)),
        "loader": DataLoader(whole, batch_size=5),
        "samples": OfSource(),
    }


@pytest.mark.parametrize("form", sorted(forms_of_source()))
def test_source_images_may_come_in_any_form(form):
    make = partial(tta.adapt, made(OwnNet), "rmt", input_size=SIZE, warm_up_samples=12)
    expected = make(source=SOURCE)(BATCHES[0])
    assert torch.equal(make(source=forms_of_source()[form])(BATCHES[0]), expected)


def test_source_images_may_be_named():
    network = made(OwnNet, 16, 10)
    adapted = tta.adapt(network, "rmt", input_size=SIZE, source="digits", warm_up_samples=64)
    assert adapted(BATCHES[0]).shape == (6, 10)
    with pytest.raises(UserError, match="digits.*10 classes|labels up to 9"):
        tta.adapt(made(OwnNet), "rmt", input_size=SIZE, source="digits")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (5, "must be an iterable of .images, labels., a torch Dataset.*got a int"),
        ([], "the iterable is empty"),
        ([IMAGES], "gives a Tensor, and .images, labels. are expected"),
        ([(IMAGES, LABELS[:3])], "12 images has 3 labels"),
        ([(IMAGES, LABELS + 3)], "labels of source images go from 3 to 7.*5 outputs"),
        ([(IMAGES, LABELS.float())], "must be class numbers"),
        ([(IMAGES * 255, LABELS)], "pass images / 255"),
        ([(IMAGES[:, :1], LABELS)], r"must be \[B, 3, H, W\]"),
        ([(IMAGES, LABELS), (IMAGES[:, :, :8], LABELS)], "differ in size"),
        (TensorDataset(IMAGES * 255, LABELS), "pass images / 255"),
        (TensorDataset(IMAGES), "gives a tuple, and .images, labels. are expected"),
    ],
)
def test_source_images_that_are_none_are_refused(source, reason):
    with pytest.raises(UserError, match=reason):
        tta.adapt(made(OwnNet), "rmt", input_size=SIZE, source=source, warm_up_samples=12)
