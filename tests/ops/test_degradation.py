"""SPA's degraded views, seen in the spectrum and against a loop."""

import math

import pytest
import torch

from tta.ops.views.degradation import blend_noise, mask_low_frequencies

GREY = torch.full((1, 3, 1, 1), 0.5)
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise_images(count, side):
    return torch.rand(count, 3, side, side, generator=generator(1))


def spectrum(images):
    return torch.fft.fftshift(torch.fft.fft2(images - 0.5), dim=(-2, -1)).abs()


@pytest.mark.parametrize("side", [30, 33])
def test_low_frequencies_go_in_pairs_or_stay_whole_and_high_ones_stay(side):
    images = noise_images(40, side)
    kept = spectrum(mask_low_frequencies(images, generator(), 0.25, GREY)) / spectrum(images)
    torch.testing.assert_close(kept.round(), kept, atol=1e-2, rtol=0)
    centre, radius = side // 2, math.floor(0.2 * side) // 2
    band = slice(centre - radius, centre + radius + 1)
    outside = kept.clone()
    outside[..., band, band] = 1
    assert (outside.round() == 1).all()
    low = kept[..., band, band].round()
    assert torch.equal(low, low.flip(-1, -2))
    assert 0.22 < (low == 0).float().mean() < 0.28
    centres = low[..., radius, radius]
    assert 0.15 < (centres == 0).float().mean() < 0.35


def test_nothing_masked_changes_nothing_and_everything_masked_is_what_the_network_subtracts():
    images = noise_images(2, 32)
    torch.testing.assert_close(mask_low_frequencies(images, generator(), 0.0, MEAN), images)
    means = mask_low_frequencies(images, generator(), 1.0, MEAN).mean((2, 3), keepdim=True)
    torch.testing.assert_close(means, MEAN.expand(2, -1, -1, -1))


def test_every_patch_gets_its_share_of_noise():
    images = noise_images(3, 8)
    shares = torch.tensor([[0.0, 1.0], [0.25, 0.5]])
    blended = blend_noise(images, shares, generator(4), GREY, GREY)
    noise = 0.5 + 0.5 * torch.randn(images.shape, generator=generator(4))
    for y in range(8):
        for x in range(8):
            share = shares[y // 4, x // 4]
            expected = (1 - share) * images[..., y, x] + share * noise[..., y, x]
            torch.testing.assert_close(blended[..., y, x], expected.clamp(0, 1))


def test_views_are_those_of_the_normalised_image_clipped_at_one_as_published():
    images = noise_images(3, 8)
    shares = torch.tensor([[0.0, 1.0], [0.25, 0.5]])
    shown = (images - MEAN) / STD
    share = shares.repeat_interleave(4, 0).repeat_interleave(4, 1)
    noise = torch.randn(images.shape, generator=generator(4))
    expected = ((1 - share) * shown + share * noise).clamp(-1, 1)
    assert (expected.abs() == 1).float().mean() > 0.2
    blended = blend_noise(images, shares, generator(4), MEAN, STD)
    torch.testing.assert_close((blended - MEAN) / STD, expected, atol=1e-5, rtol=1e-5)
    masked = mask_low_frequencies(images, generator(), 0.5, MEAN)
    alone = mask_low_frequencies(shown, generator(), 0.5, torch.zeros_like(MEAN))
    torch.testing.assert_close((masked - MEAN) / STD, alone, atol=1e-5, rtol=1e-5)


def test_noise_is_of_each_image_unless_it_is_the_same_for_all():
    images = torch.full((2, 3, 8, 8), 0.5)
    first, second = blend_noise(images, torch.ones(2, 2), generator(), GREY, GREY)
    assert not torch.equal(first, second)
    first, second = blend_noise(
        images, torch.ones(2, 2), generator(), GREY, GREY, same_for_all=True
    )
    assert torch.equal(first, second)


def test_the_layout_is_kept():
    images = noise_images(2, 8).contiguous(memory_format=torch.channels_last)
    for view in (
        mask_low_frequencies(images, generator(), 0.2, MEAN),
        blend_noise(images, torch.ones(2, 2), generator(), MEAN, STD),
    ):
        assert view.is_contiguous(memory_format=torch.channels_last)
