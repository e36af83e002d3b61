"""Files of weight vectors for the stand-in backbones, and which methods want one."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from benchmarks.timing import subjects
from benchmarks.timing.subjects import NAMES_VECTORS
from tta.backbones.backbone import Backbone
from tta.testing.stand_ins import make_backbone, make_images


@cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="weight-vectors-")


@cache
def vectors_for(kind: str) -> str:
    """Return the path of a file for a stand-in backbone."""
    return write_vectors(make_backbone(kind), Path(_folder().name) / f"{kind}.safetensors")


def file_for(name: str, kind: str) -> dict[str, str]:
    """Return the hyper-parameter of a method that names a file; nothing where it wants none."""
    return {NAMES_VECTORS[name]: vectors_for(kind)} if name in NAMES_VECTORS else {}


def write_vectors(backbone: Backbone, file: Path, bits: int = 32, layers: int | None = None) -> str:
    """Write two random vectors for a network, with moments, and return the path."""
    images = [make_images(8, seed) for seed in range(3)]
    return subjects.write_vectors(backbone, images, file, bits, layers)
