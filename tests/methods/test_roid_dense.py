"""ROID on maps: a pixel that is no number weighs nothing."""

import torch

from tests.fakes import make_images
from tta.methods.roid import Roid
from tta.testing.stand_ins import make_backbone


def test_a_pixel_that_is_no_number_leaves_the_model_whole(monkeypatch):
    method = Roid(make_backbone("segmenting"), seed=0)
    method.start()
    original, calls = type(method.backbone).forward, []

    def spoilt(backbone, images):
        logits = original(backbone, images)
        if not calls:
            mask = torch.zeros_like(logits, dtype=torch.bool)
            mask[0, :, 0, 0] = True
            logits = logits.masked_fill(mask, torch.nan)
        calls.append(len(images))
        return logits

    monkeypatch.setattr(type(method.backbone), "forward", spoilt)
    method.step(make_images(2))
    assert len(calls) == 2
    assert all(parameter.isfinite().all() for parameter in method.parameters)
