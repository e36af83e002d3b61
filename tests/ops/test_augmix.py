"""AugMix operations against Pillow's, and what a view may and may not be."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from tta.ops.views.augmix import (
    NONE,
    OPERATIONS,
    AugMix,
    apply_operation,
    resized_crop_and_flip,
    shift_and_flip,
)

SIDE = 40
RED = (128, 0, 0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=4, side=SIDE):
    """Smooth images with some noise, so that interpolation and histograms have work to do."""
    coarse = torch.rand(count, 3, 5, 5, generator=generator(1))
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    noise = torch.rand(smooth.shape, generator=generator(2))
    return (20 + 230 * smooth + 8 * noise).round().clamp(0, 255)


def to_pillow(levels):
    return Image.fromarray(levels.permute(1, 2, 0).numpy().astype(np.uint8))


def by_pillow(image, name, strength, sign):
    size, how = image.size, {"resample": Image.BILINEAR, "fillcolor": RED}
    shift, shear = sign * int(strength * SIDE / 3 / 10), sign * strength * 0.3 / 10
    matrices = {
        "shear_x": (1, shear, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, shear, 1, 0),
        "translate_x": (1, 0, shift, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, shift),
    }
    if name in matrices:
        return image.transform(size, Image.AFFINE, matrices[name], **how)
    if name == "rotate":
        return image.rotate(sign * int(strength * 3), **how)
    if name == "solarize":
        return ImageOps.solarize(image, 256 - int(strength * 25.6))
    if name == "posterize":
        return ImageOps.posterize(image, 4)
    return getattr(ImageOps, name)(image)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_pillows(name):
    levels = pictures()
    strength, sign = torch.tensor([0.15, 0.5, 0.8, 0.99]), torch.tensor([1.0, -1.0, 1.0, -1.0])
    number = torch.full((4,), OPERATIONS.index(name))
    ours = apply_operation(levels, number, strength, sign, RED)
    for image, before, s, d in zip(ours, levels, strength.tolist(), sign.tolist(), strict=True):
        expected = np.asarray(by_pillow(to_pillow(before), name, s, int(d)), np.float32)
        difference = np.abs(image.permute(1, 2, 0).numpy() - expected)
        assert difference.max() <= 1
        assert (difference == 0).mean() > 0.97


def test_each_image_gets_its_own_operation_and_none_changes_nothing():
    levels = pictures(3)
    numbers = torch.tensor([NONE, OPERATIONS.index("solarize"), NONE])
    ours = apply_operation(levels, numbers, torch.full((3,), 0.9), torch.ones(3), RED)
    assert torch.equal(ours[[0, 2]], levels[[0, 2]])
    assert not torch.equal(ours[1], levels[1])


def test_a_flat_image_survives_the_operations_that_stretch_levels():
    flat = torch.full((2, 3, 8, 8), 77.0)
    numbers = torch.tensor([OPERATIONS.index("autocontrast"), OPERATIONS.index("equalize")])
    assert torch.equal(apply_operation(flat, numbers, torch.ones(2), torch.ones(2), RED), flat)


def test_shifted_images_are_windows_of_the_padded_image_or_its_mirror():
    image = pictures(1)
    shifted = shift_and_flip(image.expand(40, -1, -1, -1), generator())
    padded = torch.nn.functional.pad(image, (4, 4, 4, 4))[0]
    windows = {
        tuple(window.flatten().tolist()): (mirrored, (i, j))
        for i in range(9)
        for j in range(9)
        for mirrored in (False, True)
        for window in [padded[:, i : i + SIDE, j : j + SIDE]]
        for window in [window.flip(2) if mirrored else window]
    }
    found = [windows[tuple(view.flatten().tolist())] for view in shifted]
    assert {mirrored for mirrored, _ in found} == {False, True}
    assert len({place for _, place in found}) > 20


def test_resized_crops_stay_inside_the_image_and_vary():
    ramp = torch.arange(64.0).repeat(64, 1)
    levels = torch.stack([ramp, ramp.T, torch.full((64, 64), 9.0)])[None].expand(200, -1, -1, -1)
    views = resized_crop_and_flip(levels, generator())
    assert torch.equal(views[:, 2], levels[:, 2])
    width = views[:, 0].amax((1, 2)) - views[:, 0].amin((1, 2)) + 1
    height = views[:, 1].amax((1, 2)) - views[:, 1].amin((1, 2)) + 1
    area, ratio = width * height / 64**2, width / height
    assert 0.05 < area.min() < 0.2 and 0.85 < area.max() <= 1
    assert 0.65 < ratio.min() < 0.85 and 1.18 < ratio.max() < 1.55
    rising = views[:, 0, 0, -1] > views[:, 0, 0, 0]
    assert 60 < rising.sum() < 140


@pytest.mark.parametrize("crop", ["padded", "resized"])
def test_views_differ_repeat_with_the_seed_and_keep_range_and_layout(crop):
    images = (pictures(1) / 255).expand(6, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    before = images.clone()
    views = AugMix(crop)(images, generator(3))
    assert torch.equal(views, AugMix(crop)(images, generator(3)))
    assert not torch.equal(views[0], views[1])
    assert 0 <= views.min() and views.max() <= 1
    assert views.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)
