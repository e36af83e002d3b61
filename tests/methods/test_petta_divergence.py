import math

import pytest
import torch

from tests.fakes import RandomImages
from tta.methods.petta_divergence import ClassDivergence, class_mean_update, class_sums
from tta.source.prototypes import class_moments
from tta.source.source_data import SourceData

MEANS = torch.tensor([[1.0, 2.0], [0.0, 0.0], [5.0, 5.0], [1.0, 1.0]])
SOURCE = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
VARIANCES = torch.tensor([[1.0, 4.0], [1.0, 2.0], [1.0, 1.0], [0.0, 0.0]])
COUNTS = torch.tensor([5.0, 5.0, 5.0, 1.0])


@pytest.mark.parametrize(
    ("labels", "distance"),
    [
        ([0], (1 + 4 / 4) / 2),
        ([0, 1, 1, 1], ((1 + 1) / 2 + (0 + 1 / 2) / 2) / 2),
        ([1, 3], (0 + 1 / 2) / 2),
        ([3], 0.0),
        ([4, 4], 0.0),
    ],
)
def test_divergence_of_the_classes_that_are_there(labels, distance):
    labels = torch.tensor(labels)
    _, counts = class_sums(torch.ones(len(labels), 2), labels, len(MEANS))
    found = ClassDivergence(SOURCE, VARIANCES, COUNTS)(MEANS, counts > 0)
    assert found.item() == pytest.approx(1 - math.exp(-distance), abs=1e-5)


def test_class_means_move_to_those_of_the_batch():
    features = torch.tensor([[2.0, 0.0], [4.0, 2.0], [torch.nan, 1.0]])
    labels = torch.tensor([1, 1, 4])
    sums, counts = class_sums(features, labels, 4)
    assert counts.flatten().tolist() == [0, 2, 0, 0]
    moved = class_mean_update(MEANS, sums, counts, counts > 0, momentum=0.1)
    expected = MEANS.clone()
    expected[1] = 0.9 * MEANS[1] + 0.1 * torch.tensor([3.0, 1.0])
    torch.testing.assert_close(moved, expected)


def test_class_moments_agree_with_torch():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(40, 3, generator=generator) + 100
    labels = torch.randint(3, (40,), generator=generator)
    labels[7] = 3  # a class of one
    batches = zip(features.split(9), labels.split(9), strict=True)
    means, variances, counts = class_moments(batches, num_classes=5)
    for c in range(3):
        own = features[labels == c]
        torch.testing.assert_close(means[c], own.mean(0))
        torch.testing.assert_close(variances[c], own.var(0), atol=1e-4, rtol=1e-4)
    assert counts.tolist() == labels.bincount(minlength=5).tolist()
    assert torch.isfinite(means).all() and torch.isfinite(variances).all()


def test_class_moments_stop_at_the_limit():
    source = SourceData(RandomImages(24, ("source",)), batch_size=6)
    batches = ((images.flatten(1), labels) for images, labels in source.one_pass())
    assert class_moments(batches, 5, limit=10)[2].sum() == 12
