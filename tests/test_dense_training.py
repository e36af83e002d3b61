"""What training of networks that segment is made of."""

import torch
import torch.nn.functional as F

from tta.backbones import create_backbone
from tta.source.segmentation import (
    batches_of,
    median_frequency_weights,
    pixel_counts,
    pixel_loss,
    varied,
)
from tta.tasks.confusion import mean_iou


def test_weights_even_out_how_frequent_classes_are():
    labels = torch.zeros(2, 2, 4, dtype=torch.uint8)
    labels[0, 0] = 1  # half of one image
    labels[1, 0, 0] = 2  # an eighth of the other
    labels[1, 1] = 255
    # Shares where they are shown: 4/8 and 3/8 of both, 4/8, 1/8; the median is 7/16.
    weights = median_frequency_weights(labels, 4, most=3.0)
    expected = [1.0, (7 / 16) / (4 / 8), 3.0, 3.0]
    assert torch.allclose(weights, torch.tensor(expected))


def test_the_loss_passes_over_ignored_pixels_and_enlarges_logits():
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 3, (2, 8, 10), dtype=torch.uint8)
    labels[:, :4] = 255
    large = F.interpolate(logits, (8, 10), mode="bilinear", align_corners=False)
    expected = F.cross_entropy(large[:, :, 4:], labels[:, 4:].long())
    assert torch.allclose(pixel_loss(logits, labels, 255), expected)


def test_pictures_are_varied_with_their_labels():
    labels = torch.zeros(6, 40, 60, dtype=torch.uint8)
    labels[:, 8:30, 10:25] = 1
    images = labels[:, None].float().expand(-1, 3, -1, -1) * 0.8 + 0.1
    made, maps = varied(images, labels, torch.Generator().manual_seed(1), ignored=255)
    assert made.shape == images.shape and maps.shape == labels.shape
    assert 0 <= made.min() and made.max() <= 1
    for picture, truth in zip(made, maps, strict=True):
        inside = truth != 255
        middle = (picture[0][inside].min() + picture[0][inside].max()) / 2
        apart = ((picture[0] > middle).byte() != truth)[inside].float().mean()
        assert apart < 0.05
    assert len({truth.sum().item() for truth in maps}) > 1
    again = varied(images, labels, torch.Generator().manual_seed(1), ignored=255)
    assert torch.equal(again[0], made) and torch.equal(again[1], maps)


def test_a_last_batch_of_one_is_left_out():
    sizes = [len(rows) for rows in batches_of(9, 4, torch.Generator().manual_seed(0))]
    assert sizes == [4, 4]


def test_counts_are_those_of_all_pixels_but_the_ignored():
    backbone = create_backbone("digits_segnet", pretrained=False)
    images = torch.randint(0, 256, (20, 3, 64, 64), dtype=torch.uint8)
    labels = torch.randint(0, 11, (20, 64, 64), dtype=torch.uint8)
    labels[:, 0] = 255
    counts = pixel_counts(backbone, images, labels, 255)
    assert counts.shape == (11, 12) and counts.sum() == 20 * 63 * 64
    assert 0 <= mean_iou(counts) < 0.2
