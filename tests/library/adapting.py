"""Images and networks for the tests of tta.adapt."""

from __future__ import annotations

import torch
import torchvision

from tests.fakes import make_images
from tests.own_nets import NUM_CLASSES

SIZE = (3, 32, 32)
BATCHES = [make_images(count, seed) for seed, count in enumerate((6, 6))]
IMAGES, LABELS = make_images(12, 9), torch.arange(12) % NUM_CLASSES
SOURCE = [(IMAGES[:6], LABELS[:6]), (IMAGES[6:], LABELS[6:])]


def small_vit():
    return torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=NUM_CLASSES)


def normalise(images):
    return torchvision.transforms.functional.normalize(
        images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
