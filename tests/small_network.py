"""A network that is compiled in a second."""

from __future__ import annotations

import torch
from torch import nn

from tests.fakes import NUM_CLASSES, SIZE
from tta.backbones.backbone import Backbone


class Small(nn.Module):
    """Two convolutions with batch norm, called as timm's networks are."""

    def __init__(self):
        super().__init__()
        first, second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, stride=2)
        norms = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.body = nn.Sequential(first, norms[0], nn.ReLU(), second, norms[1], nn.ReLU())
        self.fc = nn.Linear(8, NUM_CLASSES)

    def get_classifier(self):
        return self.fc

    def forward_features(self, images):
        return self.body(images)

    def forward_head(self, maps, pre_logits=False):
        pooled = maps.mean((2, 3))
        return pooled if pre_logits else self.fc(pooled)

    def forward(self, images):
        return self.forward_head(self.forward_features(images))


def small_backbone():
    """Return a backbone around it, of the same weights at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        model = Small().eval()
    size = (3, SIZE, SIZE)
    return Backbone(model, name="small", input_size=size, mean=(0.5,) * 3, std=(0.25,) * 3)
