import pytest
import torch
import torch.nn.functional as F

from tests.corruptions.pictures import pictures
from tta.corruptions.elastic import _affine_sources, _neighbours, bilinear
from tta.corruptions.random import ImageRandom


def grid(side):
    axis = torch.arange(float(side))
    return axis[:, None].expand(1, side, side), axis.expand(1, side, side)


def test_identity_positions_return_the_image():
    image = pictures(1).float()
    for mode in ("mirror", "reflect"):
        assert torch.equal(bilinear(image, *grid(32), mode), image)


def test_bilinear_agrees_with_grid_sample():
    images = pictures(2).float()
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.rand(2, 2, 32, 32, generator=generator).mul(50).sub(9)
    for mode, align in (("mirror", True), ("reflect", False)):
        positions = torch.stack([columns, rows], -1)
        unit = positions / 31 * 2 - 1 if align else (positions + 0.5) / 32 * 2 - 1
        expected = F.grid_sample(images, unit, padding_mode="reflection", align_corners=align)
        assert torch.allclose(bilinear(images, rows, columns, mode), expected, atol=0.01)


def test_affine_sources_undo_the_moved_anchors():
    """Without jitter the map is the identity; with it, it sends moved anchors back."""
    random = ImageRandom(torch.arange(2), "elastic_transform", 1, 0)
    rows, columns = _affine_sources(32, 0.0, random)
    assert torch.equal(rows[0], grid(32)[0][0]) and torch.equal(columns[1], grid(32)[1][0])


def test_jitter_moves_the_anchors_by_at_most_its_size():
    random = ImageRandom(torch.arange(50), "elastic_transform", 1, 0)
    rows, columns = _affine_sources(32, 0.5, random)
    for row, column in ((26, 26), (6, 26), (6, 6)):
        assert (rows[:, row, column] - row).abs().max() < 0.75
        assert (columns[:, row, column] - column).abs().max() < 0.75


@pytest.mark.parametrize("mode", ["mirror", "reflect"])
def test_neighbours_far_outside_are_folded_each_by_itself(mode):
    side = 8
    positions = torch.arange(-60.0, 60.0)
    steps = {"mirror": [*range(8), *range(6, 0, -1)], "reflect": [*range(8), *range(7, -1, -1)]}
    period = steps[mode]
    before, after = _neighbours(positions, side, mode)
    assert before.tolist() == [period[int(at) % len(period)] for at in positions]
    assert after.tolist() == [period[int(at + 1) % len(period)] for at in positions]


def test_a_warp_far_outside_takes_no_other_image_and_does_not_depend_on_the_batch():
    images = torch.zeros(2, 3, 16, 16)
    images[1] = 255.0
    lines = torch.arange(16.0).view(1, 16, 1).expand(2, 16, 16)
    rows = lines - torch.tensor([1.0, 40.5]).view(2, 1, 1)
    columns = torch.arange(16.0).expand(2, 16, 16).contiguous()
    warped = bilinear(images, rows, columns, "reflect")
    assert (warped[0] == 0).all() and (warped[1] == 255).all()
    alone = bilinear(images[:1], rows[:1], columns[:1], "reflect")
    assert torch.equal(warped[:1], alone)
