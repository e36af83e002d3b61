import math

import pytest
import torch

from tests.corruptions.pictures import pictures
from tta.corruptions import corrupt
from tta.corruptions.noise import poisson_levels


def flat(level, count=100):
    return torch.full((count, 3, 32, 32), level, dtype=torch.uint8)


@pytest.mark.parametrize("photons", [3, 60, 500])
@pytest.mark.parametrize("grey", [20, 128])
def test_shot_noise_is_poisson(photons, grey):
    rate = photons * grey / 255
    mean = square = 0.0
    for count in range(1000):
        chance = math.exp(count * math.log(rate) - rate - math.lgamma(count + 1))
        level = min(count * 255 // photons, 255)
        mean, square = mean + chance * level, square + chance * level**2
    row = poisson_levels(photons, torch.device("cpu")).view(256, -1)[grey].double()
    assert row.mean() == pytest.approx(mean, rel=1e-3)
    assert row.var() == pytest.approx(square - mean**2, rel=5e-3)


def test_shot_noise_leaves_black_alone():
    assert corrupt(flat(0), "shot_noise", 5, range(100)).max() == 0


def test_gaussian_noise_has_the_published_deviation():
    residual = corrupt(flat(128), "gaussian_noise", 5, range(100)).double() - 128
    assert residual.std() == pytest.approx(25.5, rel=0.01)
    assert residual.mean() == pytest.approx(-0.5, abs=0.15)


def test_speckle_noise_scales_with_the_level():
    residual = corrupt(flat(100), "speckle_noise", 3, range(100)).double() - 100
    assert residual.std() == pytest.approx(12, rel=0.01)
    assert corrupt(flat(0), "speckle_noise", 3, range(100)).max() == 0


def test_impulse_noise_hits_the_published_share():
    images = pictures(100).clamp(1, 254)
    result = corrupt(images, "impulse_noise", 5, range(100))
    assert (result == 0).double().mean() == pytest.approx(0.035, abs=0.002)
    assert (result == 255).double().mean() == pytest.approx(0.035, abs=0.002)
    assert torch.equal(result[(result > 0) & (result < 255)], images[(result > 0) & (result < 255)])
