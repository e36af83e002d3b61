import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.corruptions.pictures import pictures
from tta.corruptions import corrupt
from tta.corruptions.blur import disk_kernel
from tta.corruptions.glass import _PASSES, _draw_targets
from tta.corruptions.motion import blur_along
from tta.corruptions.random import ImageRandom
from tta.foundation.errors import UserError


@pytest.mark.parametrize("name", ["defocus_blur", "gaussian_blur", "glass_blur", "zoom_blur"])
@pytest.mark.parametrize("side", [32, 96])
def test_blur_leaves_a_constant_image_alone(name, side):
    image = torch.full((1, 3, side, side), 201, dtype=torch.uint8)
    assert torch.equal(corrupt(image, name, 3, [0]), image)


def test_defocus_is_a_mirrored_correlation():
    images = pictures(2, side=96)
    kernel = disk_kernel(4, 0.5)
    reach = len(kernel) // 2
    padded = F.pad(images.double(), (reach,) * 4, mode="reflect")
    expected = F.conv2d(padded, kernel.expand(3, 1, -1, -1), groups=3)
    result = corrupt(images, "defocus_blur", 2, [0, 1])
    assert (result - expected).abs().max() < 1 + 1e-3


def test_disk_kernel_is_normalised_and_round():
    kernel = disk_kernel(6, 0.5)
    assert kernel.sum() == pytest.approx(1)
    assert torch.allclose(kernel, kernel.T) and torch.allclose(kernel, kernel.flip(0))
    assert disk_kernel(1.5, 0.1).shape == (3, 3)
    assert disk_kernel(8, 0.5).sum() == pytest.approx(1.013, abs=0.001)


def shuffled_naively(side, reach, targets, swap):
    pixels = np.arange(side * side)
    for row in range(side - reach, reach, -1):
        for column in range(side - reach, reach, -1):
            own = row * side + column
            partner = int(targets[row, column])
            if swap == "official":
                pixels[own] = pixels[partner]
            else:
                pixels[own], pixels[partner] = pixels[partner], pixels[own]
    return torch.from_numpy(pixels)


@pytest.mark.parametrize("swap", ["official", "fixed"])
@pytest.mark.parametrize("reach", [1, 2, 4])
def test_glass_pass_equals_the_double_loop(swap, reach):
    random = ImageRandom(torch.arange(3), "glass_blur", 1, 0)
    targets = _draw_targets(24, reach, random)
    sources = _PASSES[swap](targets, 24, reach).view(3, -1)
    for image in range(3):
        first = image * 24 * 24  # pixels are numbered through the batch
        naive = shuffled_naively(24, reach, targets[image] - first, swap)
        assert torch.equal(sources[image].long() - first, naive)


def test_glass_swap_is_chosen_by_name():
    images = pictures(2)
    official = corrupt(images, "glass_blur", 3, [0, 1])
    fixed = corrupt(images, "glass_blur", 3, [0, 1], glass_swap="fixed")
    assert not torch.equal(official, fixed)
    with pytest.raises(UserError, match="unknown glass swap 'offical'.*'official'"):
        corrupt(images, "glass_blur", 3, [0, 1], glass_swap="offical")


def test_motion_blur_moves_along_the_angle():
    image = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    image[..., 16, 16] = 255
    across = blur_along(image, 2, 2.0, torch.tensor([0.0], dtype=torch.float64))[0, 0]
    assert across[16].nonzero().flatten().tolist() == [12, 13, 14, 15, 16]
    assert across.sum() == across[16].sum()
    weights = [math.exp(-(step**2) / 8) for step in range(5)]
    expected = [int(255 * weight / sum(weights) + 0.002) for weight in weights]
    assert across[16, 12:17].tolist() == expected[::-1]
    down = blur_along(image, 2, 2.0, torch.tensor([90.0], dtype=torch.float64))[0, 0]
    assert torch.equal(down.T, across)
