import numpy as np
import pytest
import torch

from tta.backbones import create_backbone
from tta.datasets import open_dataset
from tta.datasets.digits import split_rows


def test_splits_are_disjoint_complete_and_balanced():
    source, test = split_rows(True), split_rows(False)
    assert sorted([*source, *test]) == list(range(1797))
    counts = np.bincount(open_dataset("digits-c").labels("fog", 5))
    assert counts.min() > 80


def test_shipped_weights_know_the_digits():
    data = open_dataset("digits-c")
    backbone = create_backbone(
        data.benchmark.backbone, weights=data.benchmark.weights, num_classes=10
    )
    clean = open_dataset("digits")
    rows = np.arange(len(split_rows(False)))
    images = super(type(data), data).images("clean", 0, rows).float() / 255
    with torch.no_grad():
        accuracy = (backbone(images).argmax(1).numpy() == data.labels("fog", 5)).mean()
    assert accuracy > 0.985
    assert clean.domains == ("clean",)


@pytest.mark.parametrize("severity", [1, 5])
def test_corruption_does_not_depend_on_the_batch(severity):
    data = open_dataset("digits-c")
    together = data.images("gaussian_noise", severity, np.array([3, 4, 5]))
    alone = data.images("gaussian_noise", severity, np.array([5]))
    assert together.dtype == torch.uint8
    assert torch.equal(together[2], alone[0])


def test_the_digits_bring_weights_for_a_vision_transformer():
    digits = open_dataset("digits-c")
    backbone = create_backbone(
        "digits_vit", weights=digits.benchmark.other_weights["digits_vit"], num_classes=10
    )
    rows = np.arange(len(digits.labels("brightness", 1)))
    images = digits.images("brightness", 1, rows).float() / 255
    with torch.no_grad():
        predicted = backbone(images).argmax(1).numpy()
    assert (predicted == digits.labels("brightness", 1)).mean() > 0.8
