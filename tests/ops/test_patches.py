"""Shuffled patches against a loop over images and patches."""

import pytest
import torch

from tta.ops.views.augment import shuffle_patches


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(batch, side, grid):
    """Images whose every patch holds its own number."""
    number = torch.arange(batch * grid * grid, dtype=torch.float32).view(batch, 1, grid, grid)
    return number.repeat_interleave(side // grid, 2).repeat_interleave(side // grid, 3)


def tiles(image, grid):
    side = image.shape[-1] // grid
    return [
        image[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
        for row in range(grid)
        for column in range(grid)
    ]


@pytest.mark.parametrize("grid", [2, 4])
def test_every_patch_of_an_image_is_kept_whole_and_appears_once(grid):
    images = torch.rand(3, 3, 8, 8, generator=generator(1))
    shuffled = shuffle_patches(images, generator(), grid)
    for before, after in zip(images, shuffled, strict=True):
        original = {tuple(tile.flatten().tolist()) for tile in tiles(before, grid)}
        assert {tuple(tile.flatten().tolist()) for tile in tiles(after, grid)} == original
    assert not torch.equal(shuffled, images)


def test_each_image_has_an_order_of_its_own():
    images = numbered(1, 16, 4).expand(2, -1, -1, -1)
    first, second = shuffle_patches(images, generator())
    assert not torch.equal(first, second)
    again = shuffle_patches(images, generator())
    assert torch.equal(again[0], first)


@pytest.mark.parametrize("side", [30, 33])
def test_a_side_that_is_no_multiple_keeps_its_size(side):
    images = torch.full((2, 3, side, side), 0.25)
    torch.testing.assert_close(shuffle_patches(images, generator()), images)


def test_the_memory_format_is_kept():
    images = torch.rand(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    shuffled = shuffle_patches(images, generator())
    assert shuffled.is_contiguous(memory_format=torch.channels_last)
