"""Set-up that the tests of selective methods share."""

from __future__ import annotations

import torch

from tests.fakes import NUM_CLASSES, make_backbone, make_images, make_source
from tta.methods import METHODS
from tta.methods.params import build_params

IMAGES = make_images(8, seed=5)


def make(name: str, kind: str = "layer_norm", **params):
    """Return a started method whose backbone is far from certain and far from uniform."""
    method = METHODS[name]
    backbone = make_backbone(kind)
    with torch.no_grad():
        weight = backbone.classifier.weight
        weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    made = method(backbone, build_params(method.Params, params, name), seed=2)
    made.start(make_source())
    return made


def parameters(method) -> torch.Tensor:
    """Return a copy of everything that the method trains, as one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in method.parameters])


def between_entropies(method, position: int) -> float:
    """Return a margin, as a fraction of ln C, that ``position`` of IMAGES lie below."""
    logits = method.predict(IMAGES)
    entropies = torch.distributions.Categorical(logits=logits).entropy().sort().values
    middle = (entropies[position - 1] + entropies[position]) / 2
    return middle.item() / torch.log(torch.tensor(float(NUM_CLASSES))).item()
