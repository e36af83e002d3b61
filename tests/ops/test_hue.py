"""The shift of the hue beside torchvision's, bit for bit."""

import pytest
import torch
from torchvision.transforms.v2 import functional

from tests.fakes import make_images
from tta.ops.views.hue import adjust_hue

LEVELS = torch.cartesian_prod(*[torch.linspace(0, 1, 9)] * 3)
"""Colours of every order of their channels, with ties, greys, black and white."""
COLOURS = LEVELS.T.reshape(1, 3, 27, 27)


@pytest.mark.parametrize("turns", [0.0, 0.06, -0.06, 0.3, -0.5, 0.5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("images", [COLOURS, make_images(6, 5), 1e-30 * COLOURS])
def test_equals_torchvision_to_the_bit(images, layout, turns):
    images = images.contiguous(memory_format=layout)
    kept = images.clone()
    assert torch.equal(adjust_hue(images, turns), functional.adjust_hue(kept, turns))
    assert torch.equal(images, kept)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_greys_have_no_hue_in_any_precision(dtype):
    greys = torch.tensor([0.0, 0.5, 1.0], dtype=dtype).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    assert torch.equal(adjust_hue(greys, 0.1), functional.adjust_hue(greys.clone(), 0.1))
