from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import resized_crop

from tta.foundation.errors import UserError
from tta.ops.views import augmix
from tta.ops.views.augmix import crop_boxes, mix_chains, resized_crop_and_flip
from tta.ops.views.image_views import ImageViews, _generator


def choices(views=6, least_area=0.08, flip=True, augmix=False, views_from="input"):
    return SimpleNamespace(
        views=views, least_area=least_area, flip=flip, augmix=augmix, views_from=views_from
    )


def images(count=4, side=32):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def drawn(seed=1, begun=None, batch=4, **changed):
    made = ImageViews(choices(**changed), seed)
    parts = images().split(batch)
    starts = iter(range(0, 4, batch)) if begun is None else iter(begun)
    return torch.stack([v for part in parts for v in made.of(part, lambda: next(starts))])


def test_the_image_itself_comes_first_as_it_is():
    for augmix_too in (False, True):
        found = drawn(augmix=augmix_too)
        assert found.shape == (4, 6, 3, 32, 32)
        assert torch.equal(found[:, 0], images())
        assert found.min() >= 0 and found.max() <= 1
        assert len({view.numpy().tobytes() for view in found.flatten(0, 1)}) == 24
    (alone,) = ImageViews(choices(views=1), 0).of(images(1))
    assert torch.equal(alone, images(1))


def test_draws_follow_from_seed_and_place_alone():
    usual = drawn()
    for same in (drawn(batch=1), drawn(batch=2), drawn(batch=4)):
        assert torch.equal(same, usual)
    (later,) = ImageViews(choices(), 1).of(images()[2:3], lambda: 2)
    assert torch.equal(later, usual[2])
    assert not torch.equal(drawn(seed=2)[:, 1:], usual[:, 1:])
    assert not torch.equal(drawn(begun=[1])[:, 1:], usual[:, 1:])
    states = {_generator(seed, place).initial_seed() for seed in range(9) for place in range(99)}
    assert len(states) == 9 * 99


def test_where_nobody_says_the_place_it_is_counted():
    made, usual = ImageViews(choices(), 1), drawn()
    list(made.of(images()[:1]))
    state = made.state_dict()
    found = torch.stack(list(made.of(images()[1:])))
    assert torch.equal(found, usual[1:])
    other = ImageViews(choices(), 1)
    other.load_state_dict(state)
    assert torch.equal(torch.stack(list(other.of(images()[1:]))), found)


def test_crops_are_those_of_torchvision(monkeypatch):
    """With torchvision's own boxes in place of what is drawn, and its resize of uint8 images."""
    image = (images(1, 48) * 255).round()
    transform = RandomResizedCrop(48)
    torch.manual_seed(0)
    for _ in range(8):
        top, left, height, width = transform.get_params(image, transform.scale, transform.ratio)
        numbers = torch.full((1, 22), 0.5)
        trial = torch.tensor([height * width / 48**2, width / height])
        numbers[0, 0] = (trial[0] - 0.08) / 0.92
        numbers[0, 10] = (trial[1].log() / torch.tensor(4 / 3).log() + 1) / 2
        numbers[0, -2] = (left + 0.5) / (48 - width + 1)
        numbers[0, -1] = (top + 0.5) / (48 - height + 1)
        monkeypatch.setattr(augmix, "_uniform", lambda draws, like, columns, n=numbers: n)
        found = resized_crop_and_flip(image, None, flip=False, slack=0.5)
        box = (top, left, height, width)
        expected = resized_crop(image.to(torch.uint8), *box, [48, 48], antialias=False)
        assert (found - expected.float()).abs().max() <= 1


@pytest.mark.parametrize("least", [0.5, 1.0])
def test_crops_keep_so_much_of_the_image(least):
    steps = torch.linspace(0, 255, 32)
    across = steps.expand(1, 3, 32, 32)
    draws = torch.Generator().manual_seed(0)
    found = resized_crop_and_flip(across.expand(64, -1, -1, -1), draws, least, flip=False)
    shown = (found[:, 0, 0, -1] - found[:, 0, 0, 0]) / 255
    # The narrowest of half the area has a ratio of 3/4.
    assert shown.min() > (0.5 * 3 / 4) ** 0.5 - 0.1 if least < 1 else shown.min() > 0.95
    assert bool((found[:, 0, 0, -1] > found[:, 0, 0, 0]).all())  # none is mirrored


def test_half_of_the_crops_are_mirrored():
    across = torch.linspace(0, 255, 32).expand(400, 3, 32, 32)
    found = resized_crop_and_flip(across, torch.Generator().manual_seed(0))
    share = (found[:, 0, 0, -1] < found[:, 0, 0, 0]).float().mean()
    assert 0.42 < share < 0.58


def test_mixing_a_plain_image_changes_nothing_but_by_black_that_moves_in():
    grey = torch.full((16, 3, 32, 32), 128.0)
    found = mix_chains(grey, torch.Generator().manual_seed(0), (128, 128, 128))
    # Equalising and stretching leave a single level; solarising and posterising do not move 128
    # by more than they may.
    assert found.min() >= 0 and found.max() <= 255
    centre = mix_chains(grey, torch.Generator().manual_seed(0), (0, 0, 0))
    assert centre.min() < found.min()


def decoded_images():
    draws = torch.Generator().manual_seed(3)
    sizes = [(90, 140), (300, 41), (20, 20), (64, 64)]
    return [torch.randint(256, (3, *size), generator=draws, dtype=torch.uint8) for size in sizes]


def of_decoded(rows=slice(None), begin=0, **changed):
    made = ImageViews(choices(views_from="decoded", **changed), 1)
    given = decoded_images()[rows]
    return torch.stack(list(made.of(images()[rows], lambda: begin, lambda: given)))


def test_crops_of_decoded_images_are_those_of_pillow():
    found = of_decoded(views=9, flip=False)
    assert torch.equal(found[:, 0], images())
    for place, (image, views) in enumerate(zip(decoded_images(), found, strict=True)):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        boxes = crop_boxes(image.expand(8, -1, -1, -1), _generator(1, place)).int().T.tolist()
        assert len({tuple(box) for box in boxes}) > 1
        for (left, top, width, height), view in zip(boxes, views[1:], strict=True):
            expected = np.asarray(resized_crop(picture, top, left, height, width, [32, 32]))
            off = 255 * view.permute(1, 2, 0) - torch.from_numpy(expected.copy()).float()
            # Pillow rounds between its two passes too; levels cut off would be half a level less.
            assert off.abs().max() <= 1.001 and off.mean().abs() < 0.2


def test_views_of_decoded_images_follow_from_seed_and_place_alone():
    usual = of_decoded(augmix=True)
    assert torch.equal(of_decoded(slice(2, 4), 2, augmix=True), usual[2:])
    assert not torch.equal(of_decoded(begin=1, augmix=True)[:, 1:], usual[:, 1:])
    plain, still = of_decoded(views=60), of_decoded(views=60, flip=False)
    mirrored = [torch.equal(a.flip(2), b) for a, b in zip(plain[0], still[0], strict=True)]
    assert 15 < sum(mirrored) < 45
    assert all(
        torch.equal(a, b) for a, b, c in zip(plain[0], still[0], mirrored, strict=True) if not c
    )


@pytest.mark.parametrize("given", [None, lambda: [], lambda: decoded_images()[:3]])
def test_views_of_decoded_images_are_refused_where_nobody_has_them(given):
    made = ImageViews(choices(views_from="decoded"), 1)
    with pytest.raises(UserError, match="views_from: decoded needs each image as its data set has"):
        made.of(images(), None, given)
    assert len(list(ImageViews(choices(1, views_from="decoded"), 1).of(images(), None, given))) == 4


@pytest.mark.parametrize("size", [(300, 41), (41, 300), (64, 64), (64, 80)])
def test_where_no_part_fits_it_is_the_middle_as_torchvision_has_it(size):
    image = torch.zeros(1, 3, *size)
    top, left, height, width = RandomResizedCrop.get_params(image, (4, 4), (3 / 4, 4 / 3))
    found = crop_boxes(image, torch.Generator().manual_seed(0), least_area=4.0)  # never fits
    assert found[:, 0].tolist() == [left, top, width, height]
