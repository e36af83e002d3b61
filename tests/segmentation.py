"""A data set of drawn shapes, and a small network that segments them."""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tta.datasets.base import Dataset

CLASSES = ("ground", "disc", "bar")
IGNORE = 255
DOMAINS = ("plain", "dark", "noise")


class Shapes(Dataset):
    """Discs and bars on a ground; a frame of one pixel does not count.

    Args:
        size: images of each domain.
        shape: (height, width).
        domains: of :data:`DOMAINS`.
        empty: numbers of images in which no pixel counts.
    """

    name = "shapes"
    task = "segmentation"
    ignore_label = IGNORE
    num_classes = len(CLASSES)
    class_names = CLASSES

    def __init__(self, size=12, shape=(32, 32), domains=DOMAINS, empty=()):
        self.size, self.shape, self.domains, self.empty = size, shape, domains, empty

    def labels(self, domain, severity):
        return np.zeros(self.size, np.int64)

    def _drawn(self, domain, index):
        """Return label map and uint8 image of one sample."""
        height, width = self.shape
        rng = np.random.default_rng([index, DOMAINS.index(domain)])
        rows, columns = np.mgrid[:height, :width]
        label = np.zeros((height, width), np.uint8)
        top, left = rng.integers(0, height - 6), rng.integers(0, width - 8)
        label[top : top + 5, left : left + 7] = 2
        middle = rng.uniform(6, min(height, width) - 6, 2)
        label[np.hypot(rows - middle[0], columns - middle[1]) < 5] = 1
        colours = np.array([[70, 90, 80], [190, 60, 70], [80, 90, 190]])
        image = colours[label] + rng.normal(0, 12, (height, width, 3))
        if domain == "dark":
            image = image * 0.35
        elif domain == "noise":
            image = image + rng.normal(0, 60, image.shape)
        label[[0, -1]], label[:, [0, -1]] = IGNORE, IGNORE
        if index in self.empty:
            label[:] = IGNORE
        return label, image.clip(0, 255).astype(np.uint8)

    def images(self, domain, severity, indices):
        drawn = [self._drawn(domain, int(index))[1] for index in indices]
        return torch.from_numpy(np.stack(drawn)).movedim(-1, 1).contiguous()

    def label_maps(self, domain, severity, indices):
        return torch.from_numpy(np.stack([self._drawn(domain, int(i))[0] for i in indices]))


class TinySegmenter(nn.Module):
    """Three convolutions with batch norm at half the images' size, and a branch of their mean."""

    dense = True

    def __init__(self, classes=3, width=12):
        super().__init__()
        sides = [3, width, width, width]
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(inputs, outputs, 3, 2 if number == 0 else 1, 1, bias=False),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(),
                )
                for number, (inputs, outputs) in enumerate(zip(sides, sides[1:], strict=False))
            )
        )
        self.pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width)
        )
        self.classifier = nn.Conv2d(width, classes, 1)

    def get_classifier(self):
        return self.classifier

    def forward_features(self, images):
        found = self.layers(images)
        return found + self.pool(found)

    def forward(self, images):
        return self.classifier(self.forward_features(images))


@cache
def trained(steps=120):
    """Return a network trained on plain shapes, in a second or two; do not change it."""
    data = Shapes(48)
    images = data.images("plain", 0, np.arange(48)).float() / 255
    labels = data.label_maps("plain", 0, np.arange(48)).long()
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        network = TinySegmenter()
        optimizer = torch.optim.Adam(network.parameters(), 5e-3)
        for step in range(steps):
            rows = torch.arange(step * 12, step * 12 + 12) % 48
            logits = network((images[rows] - 0.5) / 0.25)
            logits = F.interpolate(logits, labels.shape[-2:], mode="bilinear")
            loss = F.cross_entropy(logits, labels[rows], ignore_index=IGNORE)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()
