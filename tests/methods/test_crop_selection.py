"""Crop selection: which crop the network sees, and that it is the same after a translation."""

import pytest
import torch

from tests.fakes import make_backbone, make_images
from tta.foundation.errors import UserError
from tta.methods.crop_selection import CropSelection
from tta.ops.views.image_views import resized

IMAGES = make_images(6, seed=5)
RULES = ("random", "edges", "brightness", "centre")
LARGE = torch.randint(256, (6, 3, 60, 50), generator=torch.Generator().manual_seed(0)).byte()


def make(kind="batch_norm", decoded=None, **params):
    made = CropSelection(make_backbone(kind), CropSelection.Params(**params), seed=2)
    made.decoded = decoded
    made.start()
    return made


def seen(made, images):
    """What the network is shown, as levels."""
    shown = []
    made.backbone.register_forward_pre_hook(lambda _, given: shown.append(given[0]))
    made.step(images)
    return (shown[0] * 255).round()


def levels(images):
    return (images * 255).round()


def test_the_centre_crop_is_enlarged():
    expected = resized(levels(IMAGES)[:, :, 2:30, 2:30], (32, 32), False)
    assert torch.equal(seen(make(rule="centre"), IMAGES), expected)


def test_the_brightest_crop_is_found():
    images = torch.zeros(2, 3, 32, 32)
    images[0, :, 3, 30] = images[1, :, 31, 0] = 1.0
    expected = [levels(images)[0, :, :28, 4:], levels(images)[1, :, 4:, :28]]
    crops = seen(make(rule="brightness"), images)
    for crop, wanted in zip(crops, expected, strict=True):
        # Of all crops that show the spot the first.
        first = wanted if wanted is expected[1] else levels(images)[0, :, :28, 3:31]
        assert torch.equal(crop[None], resized(first[None], (32, 32), False))


@pytest.mark.parametrize("rule", RULES)
def test_a_crop_of_the_whole_image_leaves_it(rule):
    assert torch.equal(seen(make(rule=rule, share=1.0), IMAGES), levels(IMAGES))


@pytest.mark.parametrize("rule", RULES[:3])
def test_where_the_best_crop_stays_in_the_picture_it_is_the_same(rule):
    made = make(rule=rule, share=0.7)
    wide = torch.rand(40, 3, 32, 36, generator=torch.Generator().manual_seed(1))
    one, other = (seen(made, wide[..., left : left + 32]) for left in (0, 4))
    same = (one == other).flatten(1).all(1).float().mean().item()
    whole = 1.0 if rule == "random" else 0.0
    assert same > 0.3 * whole
    if rule == "random":
        assert same < 1


def test_the_centre_crop_moves_with_the_frame():
    wide = torch.rand(4, 3, 32, 33, generator=torch.Generator().manual_seed(1))
    made = make(rule="centre")
    assert not torch.equal(seen(made, wide[..., :32]), seen(made, wide[..., 1:]))


@pytest.mark.parametrize("rule", RULES)
def test_figures_do_not_depend_on_the_batch(rule):
    one, whole = make(rule=rule), make(rule=rule)
    alone = torch.cat([one.step(image) for image in IMAGES.split(1)])
    torch.testing.assert_close(alone, whole.step(IMAGES), rtol=1e-4, atol=1e-5)


def test_crops_are_of_the_decoded_image_where_it_is_larger():
    made = make(rule="centre", decoded=lambda: list(LARGE))
    # 0.875 of the shorter side, 50, and of the same share of the other.
    crop = LARGE[:, :, 8:52, 3:47].float()
    assert torch.equal(seen(made, IMAGES), resized(crop, (32, 32), False))


def test_other_images_are_cropped_as_they_are_shown():
    small = [torch.zeros(3, 32, 32, dtype=torch.uint8)] * 6
    usual = seen(make(rule="random"), IMAGES)
    assert torch.equal(seen(make(rule="random", decoded=lambda: small), IMAGES), usual)
    given = make(rule="random", crops_from="input", decoded=lambda: list(LARGE))
    assert torch.equal(seen(given, IMAGES), usual)
    mixed = make(rule="random", decoded=lambda: [LARGE[0], *small[1:]])
    assert torch.equal(seen(mixed, IMAGES)[1:], usual[1:])
    assert not torch.equal(seen(mixed, IMAGES)[0], usual[0])


def test_the_filter_follows_from_the_seed():
    def of(seed):
        made = CropSelection(make_backbone("batch_norm"), seed=seed)
        made.start()
        return made.step(IMAGES)

    assert torch.equal(of(1), of(1))
    assert not torch.equal(of(1), of(2))


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"filter_side": 4}, "filter_side must be odd, but is 4: set 5"),
        ({"share": 0.1}, "no room for crop_selection.filter_side 5"),
    ],
)
def test_a_filter_that_does_not_fit_is_refused(params, words):
    with pytest.raises(UserError, match=words):
        make(**params).step(IMAGES)


def test_a_window_has_no_decoded_images():
    with pytest.raises(UserError, match="without --window.*crops_from: input"):
        make(decoded=lambda: list(LARGE[:1])).step(IMAGES)


@pytest.mark.parametrize("rule", RULES[:3])
@pytest.mark.parametrize("share", [0.6, 0.9])
def test_with_joined_sides_a_cyclic_shift_changes_nothing(rule, share):
    noise = torch.randint(256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(3)) / 255
    joined, apart = (make(rule=rule, share=share, sides=sides) for sides in ("joined", "apart"))
    expected, other = joined.step(noise), apart.step(noise)
    for steps in ((1, 0), (0, -1), (13, 30)):
        turned = noise.roll(steps, (2, 3))
        assert torch.equal(joined.step(turned), expected)
    assert not torch.equal(apart.step(turned), other)


def test_a_joined_crop_is_cut_across_the_border():
    images = torch.zeros(1, 3, 32, 32)
    images[0, :, :2, :2] = images[0, :, -2:, -2:] = images[0, :, :2, -2:] = 1.0
    images[0, :, -2:, :2] = 1.0
    images[0, :, 0, 0] = 0.5
    crop = seen(make(rule="edges", share=4 / 32, sides="joined"), images)
    assert crop.unique().numel() > 2  # the four corners are one square
    centre = [make(rule="centre", sides=sides) for sides in ("joined", "apart")]
    assert torch.equal(*(seen(made, IMAGES) for made in centre))
