"""Scores of crops against sums written out, and that they move with the image."""

import pytest
import torch

from tta.ops.views.crop_scores import (
    best_crops,
    box_sums,
    brightness,
    cut,
    edges,
    filter_response,
    random_weights,
)

GREY = torch.randint(766, (3, 11, 14), generator=torch.Generator().manual_seed(0)).int()
WEIGHTS = random_weights(3, torch.Generator().manual_seed(1))
RULES = {
    "brightness": brightness,
    "edges": edges,
    "random": lambda *given: filter_response(*given, weights=WEIGHTS),
}


def written_out(name, crop):
    if name == "brightness":
        return crop.sum()
    if name == "edges":
        return crop.diff(dim=0).square().sum() + crop.diff(dim=1).square().sum()
    top, left = ((side - 3) // 2 for side in crop.shape)
    return (crop[top : top + 3, left : left + 3] * torch.tensor(WEIGHTS).view(3, 3)).sum()


@pytest.mark.parametrize("name", RULES)
def test_every_crop_has_the_score_of_its_own_pixels(name):
    found = RULES[name](GREY, 5, 6)
    assert found.shape == (3, 7, 9)
    for image, scores in zip(GREY, found, strict=True):
        for y in range(7):
            for x in range(9):
                assert scores[y, x] == written_out(name, image[y : y + 5, x : x + 6])


@pytest.mark.parametrize("name", RULES)
def test_scores_move_with_the_image(name):
    one, other = GREY[:, 1:, 2:], GREY[:, :-1, :-2]
    shared = RULES[name](GREY, 5, 6)
    assert torch.equal(RULES[name](one, 5, 6), shared[:, 1:, 2:])
    assert torch.equal(RULES[name](other, 5, 6), shared[:, :-1, :-2])


def test_the_whole_image_is_one_box():
    assert torch.equal(box_sums(GREY, 11, 14)[:, 0, 0], GREY.long().sum((1, 2)))


def test_sums_of_a_large_bright_image_are_exact():
    bright = torch.full((1, 2000, 2000), 765, dtype=torch.int32)
    assert box_sums(bright.long().square(), 2000, 2000).item() == 765**2 * 2000**2


def test_a_filter_does_not_see_how_bright_an_image_is():
    assert sorted(WEIGHTS) == [-1] * 4 + [0] + [1] * 4
    even = torch.full((1, 9, 9), 200, dtype=torch.int32)
    assert not filter_response(even, 5, 5, WEIGHTS).any()


def test_of_equal_scores_the_first_wins():
    scores = torch.tensor([[[0, 1, 5], [5, 5, 0]], [[7, 7, 7], [7, 7, 7]]])
    top, left = best_crops(scores)
    assert top.tolist() == [0, 0] and left.tolist() == [2, 0]


def test_crops_are_cut_where_they_are_told():
    images = torch.rand(3, 2, 11, 14, generator=torch.Generator().manual_seed(2))
    places = [(0, 8), (6, 0), (3, 4)]
    top, left = (torch.tensor(column) for column in zip(*places, strict=True))
    found = cut(images, top, left, 5, 6)
    for image, (y, x), crop in zip(images, places, found, strict=True):
        assert torch.equal(crop, image[:, y : y + 5, x : x + 6])
