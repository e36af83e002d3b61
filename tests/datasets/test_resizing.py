"""Images to one size: timm's own transform to the byte, and arrays as files."""

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval

from tta.datasets.images import read_image
from tta.datasets.resizing import AS_THEY_ARE, Resizing, fitted
from tta.foundation.errors import UserError

SHAPES = [(32, 32), (30, 47), (61, 20), (200, 301), (1, 1), (1, 40), (96, 96)]


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("size", "crop", "mode", "name"),
    [
        ((64, 64), 0.875, "center", "bicubic"),
        ((96, 96), 0.9, "center", "bilinear"),
        ((96, 96), 0.95, "squash", "lanczos"),
        ((32, 48), 1.0, "squash", "nearest"),
        ((32, 32), 1.0, "center", "box"),
    ],
)
def test_timm_s_transform(shape, size, crop, mode, name):
    image = Image.fromarray(noise(shape))
    theirs = transforms_imagenet_eval(size, crop, mode, None, name, normalize=False)
    how = {"center": "shorter", "squash": "squash"}[mode]
    ours = Resizing(how, Image.Resampling[name.upper()], crop, rounds_down=True)
    made = torch.from_numpy(np.array(ours(image, size))).permute(2, 0, 1)
    assert torch.equal(made, theirs(image))


@pytest.mark.parametrize("resizing", [Resizing(), Resizing("squash", crop=0.8), AS_THEY_ARE])
@pytest.mark.parametrize("size", [(24, 24), (20, 30), (30, 30)])
def test_arrays_become_what_files_become(tmp_path, resizing, size):
    pixels = np.stack([noise((30, 40), seed) for seed in range(3)])
    files = []
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        files.append(read_image(tmp_path / f"{number}.png", size, resizing))
    arrays = fitted(torch.from_numpy(pixels).permute(0, 3, 1, 2), size, resizing)
    assert arrays.shape == (3, 3, *size)
    assert torch.equal(arrays, torch.stack(files))


def test_images_of_the_size_are_a_view_unless_a_margin_is_cut_off():
    images = torch.from_numpy(noise((32, 32))).permute(2, 0, 1)[None]
    assert fitted(images, (32, 32), Resizing()) is images
    assert fitted(images, None, Resizing(crop=0.5)) is images
    zoomed = fitted(images, (32, 32), Resizing(filter=Image.Resampling.NEAREST, crop=0.5))
    centre = images[..., 8:24, 8:24]
    assert torch.equal(zoomed, centre.repeat_interleave(2, 2).repeat_interleave(2, 3))


@pytest.mark.parametrize(
    ("shape", "resizing", "words"),
    [
        ((20, 40), AS_THEY_ARE, "is 20x40, smaller than 32x32, and --resize none was asked for"),
        ((1, 60_000), Resizing(crop=0.5), "is so narrow that it would be resized to 64x3840000"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, shape, resizing, words):
    Image.new("RGB", shape[::-1]).save(tmp_path / "odd.png")
    with pytest.raises(UserError, match=words) as error:
        read_image(tmp_path / "odd.png", (32, 32), resizing)
    assert "odd.png'" in str(error.value)
