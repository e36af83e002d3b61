"""Files of weight vectors, for networks of one architecture.

Such a file is of safetensors, with keys ``VECTOR/PARAMETER``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from tta.backbones.checkpoint_file import read_checkpoint
from tta.foundation.errors import UserError
from tta.foundation.files import written_aside
from tta.foundation.inputs import shown_path
from tta.foundation.version import __version__
from tta.source.quantised import packed, unpacked
from tta.source.weight_vectors import Vector, WeightVectors

BITS = (32, 16, 8, 4, 2)
_FORMAT = "weight vectors 1"
_RANGE, _MOMENTS = "#range", "#moments"
# What reading a file may raise that says one thing and holds another.
_DAMAGE = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError)


def save_vectors(
    file: Path, found: WeightVectors, bits: int = 32, facts: Mapping[str, str] | None = None
) -> int:
    """Write vectors, and return how many bytes the file has.

    Args:
        file: to be written.
        found: the vectors.
        bits: of each value: 32 or 16 for floats, 8 or fewer for whole numbers between the least
            and the greatest value of a tensor.
        facts: further entries of the header.
    """
    tensors: dict[str, Tensor] = {}
    for name, vector in found.vectors.items():
        for key, value in vector.items():
            tensors |= _stored(f"{name}/{key}", value.detach().float(), bits)
    for name, moments in found.moments.items():
        tensors |= {f"{name}/{key}{_MOMENTS}": value for key, value in moments.items()}
    shapes = {key: list(value.shape) for key, value in next(iter(found.vectors.values())).items()}
    header = {
        "format": _FORMAT,
        "names": json.dumps(found.names),
        "shapes": json.dumps(shapes),
        "bits": str(bits),
        "source_sha256": found.source_sha256,
        "tta": __version__,
        **(facts or {}),
    }
    with written_aside(file, shared=True) as aside:
        save_file({key: value.contiguous() for key, value in tensors.items()}, aside, header)
    return file.stat().st_size


def _stored(key: str, value: Tensor, bits: int) -> dict[str, Tensor]:
    if bits >= 16:
        return {key: value if bits == 32 else value.half()}
    codes, bounds = packed(value, bits)
    return {key: codes, key + _RANGE: bounds}


def read_vectors(file: str | Path) -> WeightVectors:
    """Return the vectors in a file that :func:`save_vectors` has written, as float32.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    found = read_checkpoint(file)
    header, tensors = found.metadata, found.content
    if header.get("format") != _FORMAT:
        raise UserError(
            f"{shown_path(file)} is no file of weight vectors; name one that "
            "tta.source.weight_vector_files.save_vectors has written"
        )
    try:
        return _parsed(header, tensors)
    except _DAMAGE as error:
        raise UserError(
            f"the file of weight vectors {shown_path(file)} is damaged ({error}); make it again"
        ) from error


def _parsed(header: Mapping[str, str], tensors: Vector) -> WeightVectors:
    names, shapes = json.loads(header["names"]), json.loads(header["shapes"])
    bits = int(header["bits"])
    if bits not in BITS:
        raise ValueError(f"values of {bits} bits")
    if not (names and shapes and all(isinstance(name, str) for name in names)):
        raise ValueError("it lists no vectors")
    vectors = {
        name: {
            key: _restored(tensors, f"{name}/{key}", shape, bits) for key, shape in shapes.items()
        }
        for name in names
    }
    moments: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.endswith(_MOMENTS):
            name, _, layer = key.removesuffix(_MOMENTS).partition("/")
            moments.setdefault(name, {})[layer] = value.float()
    return WeightVectors(vectors, moments, header["source_sha256"])


def _restored(tensors: Vector, key: str, shape: Sequence[int], bits: int) -> Tensor:
    if bits >= 16:
        return tensors[key].float().view(shape)
    return unpacked(tensors[key], tensors[key + _RANGE], bits, shape)
