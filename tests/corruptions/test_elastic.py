import torch
import torch.nn.functional as F

from tests.corruptions.pictures import pictures
from tta.corruptions.elastic import _affine_sources, bilinear
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
