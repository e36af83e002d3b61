"""The batched views against torchvision, one image after the other."""

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as F

from tests.fakes import make_images
from tta.ops.views.moco_augment import MocoAugment, _blur, flip_at_random, shift_hue, transform

IMAGES = make_images(12, seed=3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one_by_one(images, drawn):
    """The published chain on single images."""
    outputs = []
    for i, image in enumerate(images):
        for part in drawn.order:
            if part == 3:
                image = F.adjust_hue(image, drawn.hue[i].item())
            else:
                adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)[part]
                image = adjust(image, drawn.factors[part][i].item())
        if drawn.grey[i]:
            image = F.rgb_to_grayscale(image, 3)
        image = F.gaussian_blur(image, [13, 13], [drawn.blur_sigma[i].item()] * 2)
        outputs.append(F.hflip(image) if drawn.flip[i] else image)
    return torch.stack(outputs)


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_published_chain(seed):
    drawn = MocoAugment().draw(IMAGES, generator(seed))
    expected = one_by_one(IMAGES, drawn)
    torch.testing.assert_close(transform(IMAGES, drawn), expected, atol=2e-4, rtol=0)


def test_hue_of_grey_and_of_a_full_turn():
    turns = torch.tensor([0.3, 1.0, -1.0, 0.0]).view(4, 1, 1, 1)
    images = IMAGES[:4].clone()
    images[0] = images[0, :1]
    torch.testing.assert_close(shift_hue(images, turns), images, atol=1e-5, rtol=0)


def test_draws_fill_the_published_ranges():
    images = torch.empty(4000, 3, 1, 1)
    drawn = MocoAugment(crop=(0.2, 1.0)).draw(images, generator())
    jittered = drawn.factors[0] != 1
    assert jittered.float().mean() == pytest.approx(0.8, abs=0.03)
    for factor in drawn.factors:
        assert torch.equal(factor != 1, jittered)
        assert factor.min() == pytest.approx(0.6, abs=0.01)
        assert factor.max() == pytest.approx(1.4, abs=0.01)
    assert drawn.hue.abs().max() == pytest.approx(0.1, abs=0.001)
    assert drawn.grey.float().mean() == pytest.approx(0.2, abs=0.03)
    blurred = drawn.blur_sigma[drawn.blur_sigma > 0.01]
    assert len(blurred) / 4000 == pytest.approx(0.5, abs=0.03)
    assert blurred.max() == pytest.approx(2.0, abs=0.01)
    left, top, width, height = drawn.box
    assert (width * height).min() == pytest.approx(0.2, abs=0.01)
    assert (torch.stack([left + width, top + height]) <= 1 + 1e-6).all()
    assert 1.3 < (width / height).max() < 1.34


def test_a_crop_shows_the_box():
    ramp = torch.arange(32.0).div(31).expand(1, 3, 32, 32).contiguous()
    drawn = MocoAugment(crop=(0.25, 0.25), jitter_probability=0, blur_probability=0).draw(
        ramp, generator()
    )
    shown = transform(ramp, drawn)
    left, _, width, _ = (drawn.box[:, 0] * 32).tolist()
    ends = torch.tensor([left, left + width]) - 0.5  # pixel centres
    middle = (shown.amin() + shown.amax()) / 2
    torch.testing.assert_close(middle * 31, ends.mean(), atol=0.1, rtol=0)


@pytest.mark.parametrize("view", [MocoAugment(), flip_at_random])
def test_keeps_range_layout_and_the_input(view):
    images = IMAGES.contiguous(memory_format=torch.channels_last)
    kept = images.clone()
    output = view(images, generator(2))
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= output.min() and output.max() <= 1 + 1e-6
    assert torch.equal(images, kept)
    assert torch.equal(output, view(images, generator(2)))
    assert not torch.equal(output, view(images, generator(3)))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (4, 30)])
def test_images_smaller_than_the_blur_are_mirrored_as_often_as_it_takes(size):
    images = make_images(2)[..., : size[0], : size[1]]
    sigma = torch.tensor([0.5, 2.0])
    taps = torch.exp(-0.5 * (torch.arange(-6, 7) / sigma[:, None]) ** 2)
    taps = (taps / taps.sum(1, keepdim=True)).numpy()
    blurred = _blur(images, sigma).numpy()
    for image, tap, found in zip(images.numpy(), taps, blurred, strict=True):
        padded = np.pad(image, ((0, 0), (6, 6), (6, 6)), mode="reflect")
        rows = sum(tap[k] * padded[:, k : k + size[0]] for k in range(13))
        expected = sum(tap[k] * rows[:, :, k : k + size[1]] for k in range(13))
        np.testing.assert_allclose(found, expected, atol=1e-5)
