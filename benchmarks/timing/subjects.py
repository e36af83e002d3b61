"""What is measured: networks with random weights, synthetic images, methods at full work."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tta.backbones import create_backbone
from tta.backbones.backbone import Backbone
from tta.backbones.clip.classifier import zero_shot_backbone
from tta.backbones.clip.making import drawn_digits_clip
from tta.backbones.clip_names import is_clip
from tta.backbones.domain_heads import DomainHeads
from tta.datasets.base import Dataset
from tta.datasets.digits import NAMES, TEMPLATE
from tta.methods import METHODS, Method, Need
from tta.methods.params import INNER, build_params
from tta.methods.requirements import check_needs
from tta.ops.generators import seeded_layers
from tta.source.moments import input_moments
from tta.source.source_data import SourceData
from tta.source.weight_vector_files import save_vectors
from tta.source.weight_vectors import SOURCE, WeightVectors, first_layers

FULL_WORK = {
    "margin": 2.0,
    "redundancy_margin": 2.0,
    "plpd_margin": -1.0,
    "threshold": 0.0,
    "exclude_unreliable": False,
    "low_margin": None,
    "source_margin": 2.0,
}
"""Thresholds that let every sample pass, by name: a skipped sample would cost nothing."""

PREPARATION = ("warm_up_samples", "fisher_samples", "source_styles")
"""Numbers of source images, or batches, that only preparation depends on; made small."""

NAMES_VECTORS = {"atlas": "vectors", "rws": "signatures"}
"""The hyper-parameter that names a file of weight vectors, by method."""


class Noise(Dataset):
    """Random images, the same at every call.

    Args:
        count: number of images.
        size: side in pixels.
        num_classes: labels run through these.
        pool: different images at most; ``count`` may be larger, and memory stays as it is.
    """

    name = "noise"
    domains = ("noise",)

    def __init__(self, count: int, size: int, num_classes: int = 10, pool: int = 1000) -> None:
        self.num_classes = num_classes
        self._labels = np.arange(count) % num_classes
        shape = (min(count, pool), 3, size, size)
        pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        self._pixels = torch.from_numpy(pixels)

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return self._labels

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self._pixels[torch.from_numpy(indices % len(self._pixels))]


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network and a batch for it.

    Attributes:
        backbone: with random weights.
        images: one batch on the same device, float32 in [0, 1].
        memory_format: of both.
    """

    backbone: Backbone
    images: Tensor
    memory_format: torch.memory_format

    @property
    def title(self) -> str:
        """Name and batch size."""
        return f"{self.backbone.name}, {self.images.shape[-1]} px, batch {len(self.images)}"

    def source(self) -> SourceData:
        """Return source images, two batches of them."""
        count, side = len(self.images), self.images.shape[-1]
        data = Noise(2 * count, side, min(10, self.backbone.num_classes))
        return SourceData(data, count, 0, self.images.device, self.memory_format)

    def method(self, name: str, **params: Any) -> Method:
        """Return a method, started, with thresholds that let every sample pass.

        Raises:
            UserError: it does not suit the network.
        """
        return self.start(METHODS[name], **params)

    def start(self, kind: type[Method], **params: Any) -> Method:
        """Return a method of class ``kind``; see :meth:`method`."""
        changes: dict[str, Any] = dict.fromkeys(PREPARATION, len(self.images)) | FULL_WORK
        files = self._vectors(kind)
        chosen = build_params(kind.Params, _known(kind, changes) | files | params, kind.name)
        backbone = self.backbone.clone()
        if Need.DOMAIN_HEADS in kind.needs(chosen):
            with seeded_layers(0):  # on two devices the same
                heads = DomainHeads(3, backbone.feature_dim, backbone.num_classes)
            backbone.attach(heads)
        check_needs(kind, chosen, backbone, has_source=True, cloud=self.backbone)
        method = kind(backbone, chosen, seed=0)
        if Need.CLOUD_MODEL in kind.needs(chosen):
            method.attach_model(self.backbone.clone())
        method.start(self.source())
        return method

    def _vectors(self, kind: type[Method]) -> dict[str, str]:
        """Return the hyper-parameter that names a file of weight vectors, where one is needed."""
        if kind.name not in NAMES_VECTORS:
            return {}
        return {NAMES_VECTORS[kind.name]: _vectors_of(self.backbone.name, tuple(self.images.shape))}


def _known(kind: type[Method], changes: dict[str, Any]) -> dict[str, Any]:
    """Return those of ``changes`` that a method has, or the usual method inside it."""
    usual = kind.Params()
    known = {}
    for field in dataclasses.fields(usual):
        if field.name == INNER:
            inside = _known(METHODS[usual.inner], changes)
            known |= {f"{INNER}.{name}": value for name, value in inside.items()}
        elif field.name in changes:
            known[field.name] = changes[field.name]
    return known


def write_vectors(
    backbone: Backbone,
    images: Sequence[Tensor],
    file: Path,
    bits: int = 32,
    layers: int | None = None,
) -> str:
    """Write two random vectors for a network, with moments of images, and return the path.

    Args:
        backbone: on the host.
        images: ``[B, 3, H, W]`` of the source, and of each vector's domain.
        file: to write.
        bits: of an entry.
        layers: how many, from the first on; None for all.
    """
    draws = torch.Generator().manual_seed(5)
    own = dict(backbone.model.named_parameters())
    vectors = {
        name: {
            key: 0.1 * torch.randn(own[key].shape, generator=draws)
            for key in first_layers(backbone.model, layers)
        }
        for name in ("fog", "snow")
    }
    shown = zip((SOURCE, *vectors), images, strict=True)
    moments = {name: input_moments(backbone, [batch]) for name, batch in shown}
    save_vectors(file, WeightVectors(vectors, moments, backbone.weights_sha256), bits)
    return str(file)


@cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="weight-vectors-")


@cache
def _vectors_of(name: str, shape: tuple[int, ...]) -> str:
    draws = torch.Generator().manual_seed(1)
    images = torch.rand(3, min(8, shape[0]), *shape[1:], generator=draws)
    return write_vectors(_network(name), list(images), Path(_folder().name, f"{name}.safetensors"))


@cache
def _network(name: str) -> Backbone:
    """Return a network on the host, to be copied: making one takes longer than a step of it."""
    if is_clip(name):
        return zero_shot_backbone(drawn_digits_clip(), NAMES, [TEMPLATE], cached=False)
    return create_backbone(name, pretrained=False)


def subject(
    name: str,
    batch: int,
    *,
    memory_format: torch.memory_format = torch.channels_last,
    device: torch.device | str = "cpu",
    precision: torch.dtype = torch.float32,
) -> Subject:
    """Return network ``name`` and ``batch`` images in its size."""
    backbone = _network(name).clone()
    backbone.to(device).to(memory_format=memory_format)
    backbone.precision = precision
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, *backbone.input_size, generator=generator)
    return Subject(backbone, images.to(device, memory_format=memory_format), memory_format)


class Stub:
    """A method that costs nothing, so that what is left is the harness.

    Args:
        num_classes: columns of its outputs.
    """

    def __init__(self, num_classes: int = 10) -> None:
        self.logits = torch.zeros(1, num_classes)

    def step(self, images: Tensor) -> Tensor:
        """Return the same logits for every image."""
        return self.logits.expand(len(images), -1)

    def reset(self) -> None:
        """Nothing to do."""

    def count(self) -> None:
        """Nothing to count."""
