"""Losses and selections of pixels: worked out by hand, and those of as many images."""

import math

import pytest
import torch

from tta.methods.cotta_dense import doubtful_pixels, resized, teach
from tta.ops import losses
from tta.ops.maps import kept_means
from tta.ops.selection import (
    diversity_certainty_weights,
    entropy_margin,
    entropy_weight,
    selected_mean,
)
from tta.ops.views.augment import PHOTOMETRIC

PIXELS = torch.tensor([[2.0, 0, -1], [0, 1, 0.5], [1, 1, 1], [0.2, -0.3, 1.4]])
MAP = PIXELS.T.reshape(1, 3, 2, 2)


def test_entropy_of_pixels_and_their_pooled_marginal():
    found = losses.entropy(MAP)
    assert found.flatten().tolist() == pytest.approx(
        [0.524267, 1.020191, 1.098612, 0.847523], abs=1e-6
    )
    assert float(found.mean()) == pytest.approx(0.872648, abs=1e-6)  # Tent
    assert float(losses.marginal_entropy(MAP)) == pytest.approx(1.087151, abs=1e-6)


@pytest.mark.parametrize(("fraction", "kept", "loss"), [(0.4, 0, 0.0), (0.9, 2, 0.905146)])
def test_eata_keeps_pixels_of_low_entropy(fraction, kept, loss):
    uncertainty, margin = losses.entropy(MAP), entropy_margin(fraction, 3)
    selected = uncertainty < margin
    weighted = entropy_weight(uncertainty, margin) * uncertainty
    assert int(selected.sum()) == kept
    assert float(selected_mean(weighted, selected)) == pytest.approx(loss, abs=1e-6)


def test_cottas_teacher_averages_views_where_the_source_doubts():
    confidence = torch.tensor([0.9, 0.5, 0.7, 0.69]).view(1, 1, 2, 2)
    p = torch.cat([confidence, 0.6 * (1 - confidence), 0.4 * (1 - confidence)], 1)
    images, threshold = torch.zeros(1, 3, 2, 2), torch.tensor(0.69)
    doubtful = doubtful_pixels(lambda _: p.log(), images, threshold, False)
    assert (~doubtful).int().flatten().tolist() == [1, 0, 1, 0]


def test_views_are_mirrored_back_and_averaged_as_probabilities():
    def teacher(images):  # what it says of a pixel is in the pixel
        return torch.cat([4 * images[:, :1], 4 * images[:, 1:2]], 1)

    images = torch.rand(2, 3, 8, 12)
    doubtful = torch.zeros(2, 8, 12, dtype=torch.bool)
    doubtful[:, :4] = True
    plain = teacher(images).softmax(1)
    same = teach(teacher, images, doubtful, [1.0], False)
    assert torch.allclose(same, plain, atol=1e-6)
    found = teach(teacher, images, doubtful, [1.0, 0.5], False)
    assert torch.equal(found[:, :, 4:], plain[:, :, 4:])
    small = torch.nn.functional.interpolate(
        teacher(resized(images, 0.5)), (8, 12), mode="bilinear", align_corners=False
    )
    mean = (plain + small.softmax(1)) / 2
    assert torch.allclose(found[:, :, :4], mean[:, :, :4], atol=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        losses.entropy,
        losses.opinion_entropy,
        losses.soft_likelihood_ratio,
        losses.generalized_cross_entropy,
        losses.information_maximization,
        losses.class_correlation,
        lambda z: losses.class_correlation(z, "row"),
        lambda z: losses.class_correlation(z, "none"),
        lambda z: losses.symmetric_cross_entropy(z, z.flip(1)),
        lambda z: diversity_certainty_weights(z, torch.full((3,), 1 / 3), 0.5),
    ],
)
def test_a_loss_of_pixels_is_that_of_as_many_images(loss):
    maps = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    rows = maps.movedim(1, -1).flatten(0, 2)
    found, expected = loss(maps), loss(rows)
    assert torch.allclose(found.flatten(), expected.flatten(), atol=1e-6)


def test_means_are_of_the_kept_pixels_of_each_image():
    p = torch.rand(2, 3, 2, 2)
    kept = torch.tensor([[[True, False], [False, True]], [[False, False], [False, False]]])
    p[0, :, 0, 1] = math.nan
    found, any_kept = kept_means(p, kept)
    assert torch.allclose(found[0], (p[0, :, 0, 0] + p[0, :, 1, 1]) / 2)
    assert not found[1].any() and any_kept.tolist() == [True, False]


def test_supervision_passes_over_pixels_that_do_not_count():
    logits, labels = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 8, 8))
    labels[0, :2] = 255
    big = torch.nn.functional.interpolate(logits, (8, 8), mode="bilinear")
    expected = torch.nn.functional.cross_entropy(big, labels, ignore_index=255)
    found = losses.pixel_cross_entropy(logits, labels.to(torch.uint8), 255)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    assert float(losses.pixel_cross_entropy(logits, torch.full((1, 8, 8), 255), 255)) == 0


def test_photometric_views_leave_every_pixel_where_it_is():
    images = torch.full((1, 3, 24, 24), 0.2)
    images[..., 8:12, 5:9] = 0.8
    for seed in range(4):
        view = PHOTOMETRIC(images, torch.Generator().manual_seed(seed)).mean(1)[0]
        inside, beside = view[9:11, 6:8].mean(), view[9:11, 14:18].mean()
        assert inside > beside + 0.1
        assert view[9:11, 16:18].mean() == pytest.approx(float(beside), abs=0.05)
