"""Directions in weight space: task vectors and robust weight signatures, made and kept in a file.

A vector is by name of a parameter the difference of two networks' values. A file of such vectors
is for networks of one architecture; it is a safetensors file with keys ``VECTOR/PARAMETER``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tta.backbones.backbone import Backbone, copy_module
from tta.backbones.checkpoint import load_checkpoint
from tta.backbones.checkpoint_file import read_checkpoint
from tta.backbones.network_facts import difference_in_layers
from tta.backbones.split import SplitModel
from tta.foundation.errors import UserError
from tta.foundation.files import written_aside
from tta.foundation.inputs import shown_path
from tta.foundation.version import __version__
from tta.ops.parameters import is_norm_layer
from tta.source.alike import LEAST_COSINE, mean_cosine
from tta.source.quantised import packed, unpacked

Vector = Mapping[str, Tensor]
SOURCE = "source"
"""The name under which moments of the uncorrupted images stand."""
BITS = (32, 16, 8, 4, 2)
_FORMAT = "weight vectors 1"
_RANGE, _MOMENTS = "#range", "#moments"
# What reading a file may raise that says one thing and holds another.
_DAMAGE = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError)


@dataclass(frozen=True)
class WeightVectors:
    """Vectors of one architecture.

    Attributes:
        vectors: by name, such as that of a corruption; each has the same parameters.
        moments: by name, and :data:`SOURCE`: mean and variance ``[2, C]`` of what goes into each
            batch-norm layer of the source model, by name of the layer; or empty.
        source_sha256: of the source model that the moments are of.
    """

    vectors: Mapping[str, Vector]
    moments: Mapping[str, Vector] = field(default_factory=dict)
    source_sha256: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the vectors, in order."""
        return tuple(self.vectors)


def difference(start: Vector, end: Vector, keys: Iterable[str]) -> dict[str, Tensor]:
    """Return the task vector from one network to another, of some parameters."""
    return {key: end[key] - start[key] for key in keys}


def signature(start: Vector, clean: Vector, robust: Vector, keys: Iterable[str]) -> Vector:
    """Return the robust weight signature of some parameters.

    What training on corrupted images adds to training on clean ones: from one start, the robust
    network's task vector without its projection on the clean one's, tensor by tensor (Cai et al.,
    ICML 2023).

    Args:
        start: what both were trained from.
        clean: trained on clean images.
        robust: trained on corrupted ones.
        keys: of the parameters.
    """
    keys = list(keys)
    standard, changed = difference(start, clean, keys), difference(start, robust, keys)
    return {key: without_projection(changed[key], standard[key]) for key in keys}


def without_projection(vector: Tensor, onto: Tensor) -> Tensor:
    """Return a tensor less its projection on another of that shape; all of it where that is 0."""
    along = (vector * onto).sum() / (onto * onto).sum().clamp_min(torch.finfo(onto.dtype).tiny)
    return vector - along * onto


def first_layers(model: nn.Module, count: int | None) -> list[str]:
    """Return names of the parameters of the first layers, in module order.

    Layers are convolutions and linear layers; the affine parameters of the normalisation layers
    after them count with them.

    Args:
        model: a network.
        count: of layers; None for all parameters.
    """
    if count is None:
        return [name for name, _ in model.named_parameters()]
    names: list[str] = []
    for name, module in model.named_modules():
        weighted = isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
        count -= weighted
        if count < 0:
            break
        if weighted or is_norm_layer(module):
            names += [f"{name}.{key}" for key, _ in module.named_parameters(recurse=False)]
    return names


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
            "tta.source.weight_vectors.save_vectors has written"
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


def vectors_to(files: Sequence[str | Path], backbone: Backbone) -> WeightVectors:
    """Return the task vectors from a source model to the networks of some checkpoints.

    Args:
        files: checkpoints as ``create_backbone`` takes them; a vector is called as its file.
        backbone: the source model.

    Raises:
        UserError: one is of another network, was not trained from this source model, or is there
            twice.
    """
    start = {key: value.detach() for key, value in backbone.model.named_parameters()}
    check_once(files)
    found = {}
    for file in files:
        network = _trained(file, backbone)
        if words := difference_in_layers(backbone.model, network):
            raise _misfit(shown_path(file), backbone.name, words)
        end = dict(network.named_parameters())
        _check_start(start, end, file)
        found[str(file)] = {key: end[key].detach() - value for key, value in start.items()}
    return WeightVectors(found)


def check_once(files: Sequence[str | Path]) -> None:
    """Refuse files of which one is there twice.

    Raises:
        UserError: naming it.
    """
    seen: set[Path] = set()
    for file in files:
        path = Path(file).expanduser().resolve()
        if path in seen:
            raise UserError(f"{shown_path(file)} is given twice; name each file once")
        seen.add(path)


def _trained(file: str | Path, backbone: Backbone) -> nn.Module:
    """Return the network of a checkpoint, as ``create_backbone`` would load it."""
    model, content = copy_module(backbone.model), read_checkpoint(file)
    if isinstance(model, SplitModel):  # a user's own network, whose names are without the wrapper's
        load_checkpoint(model.network, content, backbone.name, classifier=f"{model.split}.")
    else:
        load_checkpoint(model, content, backbone.name)
    return model


def _check_start(start: Vector, end: Vector, file: str | Path) -> None:
    pair = [{key: value.detach().cpu() for key, value in one.items()} for one in (start, end)]
    found = mean_cosine(*pair)
    if found < LEAST_COSINE:
        raise UserError(
            f"{shown_path(file)} was not trained from this source model: their weights have a mean "
            f"cosine of {found:.2f}, below {LEAST_COSINE:g}; name checkpoints that were fine-tuned "
            "from it"
        )


def check_fits(found: WeightVectors, file: str, backbone: Backbone) -> None:
    """Refuse vectors that are of another network.

    Raises:
        UserError: a parameter is not among the network's, or has another shape there.
    """
    own = dict(backbone.model.named_parameters())
    for vector in found.vectors.values():
        wanted = {key: own[key] for key in vector if key in own}
        if foreign := [key for key in vector if key not in own]:
            raise _misfit(shown_path(file), backbone.name, f"{foreign[0]!r} is none of its tensors")
        _check_tensors(vector, wanted, shown_path(file), backbone.name)


def _check_tensors(tensors: Any, wanted: Vector, file: str, backbone: str) -> None:
    for key, value in wanted.items():
        given = tensors.get(key) if isinstance(tensors, Mapping) else None
        if not isinstance(given, Tensor):
            raise _misfit(file, backbone, f"{key!r} is not in it")
        if given.shape != value.shape:
            shapes = f"{list(given.shape)}, not {list(value.shape)}"
            raise _misfit(file, backbone, f"{key!r} has shape {shapes}")
        if not bool(torch.isfinite(given).all()):
            raise _misfit(file, backbone, f"{key!r} has values that are no numbers")


def _misfit(file: str, backbone: str, fault: str) -> UserError:
    return UserError(
        f"{file} does not fit backbone {backbone!r}: {fault}; name a file that was made with this "
        "network"
    )
