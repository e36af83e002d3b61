import colorsys
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from tests.corruptions.pictures import pictures
from tta.corruptions import corrupt
from tta.corruptions.severity import TABLES


def by_pillow(images, change):
    changed = [
        np.asarray(change(Image.fromarray(image.permute(1, 2, 0).numpy()))) for image in images
    ]
    return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("side", [32, 96, 224])
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_pixelate_equals_pillow(side, severity):
    images = pictures(2, side)
    table = TABLES["cifar" if side < 96 else "imagenet"]
    small = int(side * table["pixelate"][severity - 1])

    def change(image):
        return image.resize((small, small), Image.BOX).resize((side, side), Image.BOX)

    assert torch.equal(corrupt(images, "pixelate", severity, [0, 1]), by_pillow(images, change))


@pytest.mark.parametrize(("side", "quality"), [(32, 58), (96, 15)])
def test_jpeg_equals_pillow(side, quality):
    def change(image):
        file = BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    images = pictures(2, side)
    assert torch.equal(corrupt(images, "jpeg_compression", 3, [0, 1]), by_pillow(images, change))


def test_contrast_equals_the_formula():
    images = pictures(4)
    unit = images.double() / 255
    mean = unit.mean((2, 3), keepdim=True)
    expected = ((unit - mean) * 0.4 + mean).clamp(0, 1) * 255
    assert (corrupt(images, "contrast", 3, range(4)) - expected).abs().max() < 1 + 1e-6


def through_hsv(images, change):
    result = images.double() / 255
    for image in result:
        for row in range(image.shape[1]):
            for column in range(image.shape[2]):
                hsv = change(*colorsys.rgb_to_hsv(*image[:, row, column].tolist()))
                image[:, row, column] = torch.tensor(colorsys.hsv_to_rgb(*hsv))
    return result * 255


def hsv_samples():
    images = pictures(1, side=16)
    images[0, :, 0, :4] = torch.tensor([0, 77, 200, 255], dtype=torch.uint8)  # grey pixels
    return images


def test_brightness_raises_the_value_of_hsv():
    images = hsv_samples()
    expected = through_hsv(images, lambda h, s, v: (h, s, min(v + 0.15, 1)))
    assert (corrupt(images, "brightness", 3, [0]) - expected).abs().max() < 1 + 1e-6


@pytest.mark.parametrize(("severity", "factor", "shift"), [(1, 0.3, 0), (3, 1.5, 0), (5, 2.5, 0.2)])
def test_saturate_changes_the_saturation_of_hsv(severity, factor, shift):
    images = hsv_samples()
    expected = through_hsv(images, lambda h, s, v: (h, min(max(s * factor + shift, 0), 1), v))
    assert (corrupt(images, "saturate", severity, [0]) - expected).abs().max() < 1 + 1e-6
