"""Images forward and backward, counted from shapes."""

import pytest
import torch

from tests.fakes import make_backbone, make_images
from tta.methods import find_method

PASSES = {"source": (6, 0), "bn_ema": (12, 0), "tent": (6, 6), "sar": (12, 12)}


@pytest.mark.parametrize("name", PASSES)
def test_passes_of_one_step(name):
    method = find_method(name)(make_backbone("batch_norm"))
    method.start()
    method.backbone.passes.take()
    method.step(make_images(6))
    assert method.backbone.passes.take() == PASSES[name]


def test_clones_share_the_counter():
    backbone, images = make_backbone("batch_norm"), make_images(3)
    clone = backbone.clone()
    backbone.passes.take()
    assert torch.equal(clone(images), backbone(images))
    assert backbone.passes.take() == (6, 0)
    assert clone.passes.take() == (0, 0)
