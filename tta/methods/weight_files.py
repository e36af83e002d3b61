"""What methods share that read vectors in weight space from a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tta.backbones.backbone import Backbone
from tta.foundation.errors import UserError
from tta.foundation.inputs import regular_file, shown_path
from tta.ops.norm.batch_norm import batch_norm_layers
from tta.source.weight_vectors import SOURCE, Vector, WeightVectors


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


def stacked_moments(found: WeightVectors, file: str, backbone: Backbone) -> dict[str, Tensor]:
    """Return the moments of the source and under each corruption ``[K + 1, 2, C]``, by layer.

    Raises:
        UserError: they are missing, of another source model or of another network, or no numbers.
    """
    names = (SOURCE, *found.names)
    own = found.source_sha256 == backbone.weights_sha256
    if not own or not set(names) <= found.moments.keys():
        raise _unusable(file, "holds no statistics of batch-norm inputs of this source model")
    wanted = {
        layer: (2, len(module.running_mean))
        for layer, module in batch_norm_layers(backbone.model)
        if module.running_mean is not None
    }
    for name in names:
        if fault := _fault(found.moments[name], wanted):
            words = f"has statistics of batch-norm inputs that do not fit the network: of {name!r} "
            raise _unusable(file, words + fault)
    device = backbone.mean.device
    return {
        layer: torch.stack([found.moments[name][layer] for name in names]).to(device)
        for layer in wanted
    }


def _fault(moments: Vector, wanted: Mapping[str, tuple[int, int]]) -> str:
    """Return what is wrong with moments of layers of known shapes; empty where nothing is."""
    if other := sorted(wanted.keys() ^ moments.keys()):
        return f"those of layer {other[0]!r} are in one and not in the other"
    for layer, shape in wanted.items():
        if tuple(moments[layer].shape) != shape:
            return f"those of layer {layer!r} are {list(moments[layer].shape)}, not {list(shape)}"
        if not bool(moments[layer].isfinite().all()):
            return f"those of layer {layer!r} are no numbers"
    return ""


def _unusable(file: str, fault: str) -> UserError:
    return UserError(
        f"{shown_path(file)} {fault}; make it anew with them, or choose by entropy: "
        "--set choice=entropy"
    )
