"""What methods share that read vectors in weight space from a file."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from tta.backbones.backbone import Backbone
from tta.foundation.inputs import regular_file
from tta.source.weight_vectors import WeightVectors


def file_digests(**files: str | tuple[str, ...] | None) -> dict[str, str]:
    """Return the SHA-256 of each file that is given, or of several, by hyper-parameter.

    Raises:
        UserError: there is no such file.
    """
    return {name: _digest(file, name) for name, file in files.items() if file is not None}


def _digest(files: str | tuple[str, ...], name: str) -> str:
    parts = (files,) if isinstance(files, str) else files
    found = [hashlib.sha256(regular_file(part, name).read_bytes()).hexdigest() for part in parts]
    return "+".join(found)


def stacked(
    found: WeightVectors, backbone: Backbone, scale: float = 1.0
) -> tuple[list[nn.Parameter], list[Tensor]]:
    """Return the parameters that vectors move, and for each its changes ``[K + 1, ...]``.

    The first change is none.
    """
    own = dict(backbone.model.named_parameters())
    vectors = list(found.vectors.values())
    keys = list(vectors[0]) if vectors else []
    parameters = [own[key] for key in keys]
    changes = [
        torch.stack([torch.zeros_like(own[key]), *(scale * v[key].to(own[key]) for v in vectors)])
        for key in keys
    ]
    return parameters, changes
