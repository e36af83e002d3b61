"""Files of weight vectors for the stand-in backbones, and which methods want one."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import torch

from tta.backbones.backbone import Backbone
from tta.source.moments import input_moments
from tta.source.weight_vectors import SOURCE, WeightVectors, first_layers, save_vectors
from tta.testing.stand_ins import make_backbone, make_images

WANTED = {"rws": "signatures", "atlas": "vectors"}
"""The hyper-parameter that names the file, by method."""


@cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="weight-vectors-")


@cache
def vectors_for(kind: str) -> str:
    """Return the path of a file for a stand-in backbone."""
    return write_vectors(make_backbone(kind), Path(_folder().name) / f"{kind}.safetensors")


def file_for(name: str, kind: str) -> dict[str, str]:
    """Return the hyper-parameter of a method that names a file; nothing where it wants none."""
    return {WANTED[name]: vectors_for(kind)} if name in WANTED else {}


def write_vectors(backbone: Backbone, file: Path, bits: int = 32, layers: int | None = None) -> str:
    """Write two random vectors for a network, with moments, and return the path."""
    draws = torch.Generator().manual_seed(5)
    own = dict(backbone.model.named_parameters())
    vectors = {
        name: {
            key: 0.1 * torch.randn(own[key].shape, generator=draws)
            for key in first_layers(backbone.model, layers)
        }
        for name in ("fog", "snow")
    }
    shown = {name: [make_images(8, seed)] for seed, name in enumerate((SOURCE, *vectors))}
    moments = {name: input_moments(backbone, images) for name, images in shown.items()}
    save_vectors(file, WeightVectors(vectors, moments, backbone.weights_sha256), bits)
    return str(file)
