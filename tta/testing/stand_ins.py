"""Small stand-ins: a data set of random images, and a backbone of each kind of norm layer."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from tta.backbones import create_backbone
from tta.backbones.backbone import Backbone
from tta.backbones.clip.classifier import zero_shot_backbone
from tta.backbones.clip.making import drawn_digits_clip
from tta.backbones.domain_heads import DomainHeads
from tta.datasets.base import Dataset
from tta.datasets.digits import NAMES, TEMPLATE
from tta.source.source_data import SourceData

NUM_CLASSES = 5
SIZE = 32


class RandomImages(Dataset):
    """Images without meaning, the same at every call.

    Args:
        size: images per domain.
        domains: names.
    """

    name = "random"
    severities = (1, 2, 3, 4, 5)
    default_severity = 5
    num_classes = NUM_CLASSES

    def __init__(self, size: int = 24, domains: tuple[str, ...] = ("a", "b", "c")) -> None:
        self.size = size
        self.domains = domains

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return np.arange(self.size) % NUM_CLASSES

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        key = [self.domains.index(domain), severity]
        pool = np.random.default_rng(key).integers(0, 256, (self.size, 3, SIZE, SIZE), np.uint8)
        return torch.from_numpy(pool[indices])


class RandomMaps(RandomImages):
    """The same with label maps without meaning, one pixel in six of which does not count."""

    name = "random maps"
    task = "segmentation"

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return np.zeros(self.size, np.int64)

    def label_maps(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        maps = np.random.default_rng(severity).integers(0, NUM_CLASSES + 1, (self.size, SIZE, SIZE))
        maps[maps == NUM_CLASSES] = self.ignore_label
        return torch.from_numpy(maps.astype(np.uint8)[indices])


BACKBONES = {
    "batch_norm": ("test_resnet", {"drop_rate": 0.3, "drop_path_rate": 0.2}),
    "fused_batch_norm": ("test_efficientnet", {"drop_rate": 0.3, "drop_path_rate": 0.2}),
    "group_norm": ("test_resnet", {"norm_layer": "groupnorm1", "drop_path_rate": 0.2}),
    "layer_norm": ("test_vit", {"img_size": SIZE, "drop_rate": 0.3, "drop_path_rate": 0.2}),
}
"""Names of timm and options, by kind; drawn weights, and dropout that must stay off."""


DENSE_BACKBONES = {
    "segmenting": "lraspp:test_efficientnet",
    "segmenting_pyramid": "deeplabv3:test_resnet",
}
"""Networks that segment, by kind; the second has batch norm over a map of one pixel."""
IMAGE_TEXT = "image_text"
"""The kind of backbone that methods for image-text models need: with layer norm, as a ViT."""
KINDS = (*BACKBONES, *DENSE_BACKBONES, IMAGE_TEXT)
"""Of stand-in backbones."""


def make_backbone(kind: str) -> Backbone:
    """Return a backbone of one of :data:`KINDS`, a copy of the same at every call."""
    return _made(kind).clone()


@cache
def _made(kind: str) -> Backbone:
    if kind in DENSE_BACKBONES:
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(0)
            return create_backbone(DENSE_BACKBONES[kind], num_classes=NUM_CLASSES, pretrained=False)
    if kind == IMAGE_TEXT:
        return zero_shot_backbone(
            drawn_digits_clip(), NAMES[:NUM_CLASSES], [TEMPLATE], cached=False
        )
    name, options = BACKBONES[kind]
    return create_backbone(
        name, num_classes=NUM_CLASSES, pretrained=False, model_kwargs=dict(options)
    )


def attach_domain_heads(backbone: Backbone, domains: int = 3, seed: int = 0) -> Backbone:
    """Give a backbone heads as if it had been trained on several domains."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        heads = DomainHeads(domains, backbone.feature_dim, backbone.num_classes)
        heads.means.normal_()
    backbone.attach(heads)
    return backbone


def make_source(batch_size: int = 6, dense: bool = False) -> SourceData:
    """Return a dozen labelled source images; ``dense``, a class for each pixel."""
    kind = RandomMaps if dense else RandomImages
    return SourceData(kind(12, ("source",)), batch_size, seed=3)


def make_images(count: int, seed: int = 0, size: tuple[int, int] = (SIZE, SIZE)) -> Tensor:
    """Return random images ``[count, 3, H, W]`` in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, *size, generator=generator)
