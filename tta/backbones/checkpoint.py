"""Reading checkpoints without running what they hold, and loading them without silence."""

from __future__ import annotations

import hashlib
import pickle
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tta.backbones.checkpoint_file import checkpoint_file
from tta.backbones.domain_heads import split_state
from tta.errors import UserError
from tta.ops.batch_norm import replace_batch_norm
from tta.ops.instance_aware import InstanceAwareBatchNorm

INSTANCE_AWARE = "instance_aware_norm"
"""Key of a tensor whose presence tells that the network was trained with such batch norm."""
_WRAPPERS = ("state_dict", "model", "net")
_LISTED = 8
# What torch.load raises on bytes that are no checkpoint or only the first part of one.
_DAMAGE = (
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a ``.safetensors`` file or a checkpoint of ``torch.save``.

    A state dict inside ``state_dict``, ``model`` or ``net`` is found, and the prefix ``module.``
    of DataParallel taken off.

    Raises:
        UserError: the file is missing, unreadable, damaged, no checkpoint, or would run code.
    """
    path, magic = checkpoint_file(path)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path, magic)
    return _strip_prefix(_unwrap(content, path))


def load_checkpoint(model: nn.Module, path: str | Path, name: str) -> dict[str, Tensor]:
    """Load a checkpoint into ``model``, every key of it and nothing else.

    The heads of single source domains, where it has them, are returned for
    ``tta.backbones.domain_heads``; otherwise an empty mapping. The batch norm of a network that
    was trained with instance-aware layers becomes such layers.

    Three differences are no error: batch counters (``num_batches_tracked``, unused with running
    statistics) may be missing, and the buffers ``mu`` and ``sigma`` in which RobustBench keeps the
    normalisation may be there if they agree with the model's ``pretrained_cfg``; and weight norm
    may go by the names that PyTorch gave it before parametrizations.

    Raises:
        UserError: see ``read_checkpoint``; or keys are missing, unexpected or of another shape.
    """
    state, heads = split_state(read_checkpoint(path))
    instance_aware = state.pop(INSTANCE_AWARE, None) is not None
    expected = model.state_dict()
    for key, value in expected.items():
        if key.endswith("num_batches_tracked"):
            state.setdefault(key, value)
    _rename_weight_norm(state, expected)
    _drop_normalisation(state, expected, getattr(model, "pretrained_cfg", {}), path)
    _check_keys(state, expected, path, name)
    model.load_state_dict(state)
    if instance_aware:
        replace_batch_norm(model, InstanceAwareBatchNorm)
    return heads


def _rename_weight_norm(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    for key in list(state):
        layer, _, kind = key.rpartition(".")
        part = {"weight_g": "original0", "weight_v": "original1"}.get(kind)
        renamed = f"{layer}.parametrizations.weight.{part}"
        if part and key not in expected and renamed in expected:
            state[renamed] = state.pop(key)


def weights_sha256(model: nn.Module) -> str:
    """Return a SHA-256 over the sorted (key, dtype, shape, bytes) of the model's state dict.

    It does not depend on the file format. Batch counters are left out: files of the same network
    hold them or not.
    """
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        if isinstance(value, Tensor) and not key.endswith("num_batches_tracked"):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise _damaged(path, error) from error


def _read_torch(path: Path, magic: bytes) -> Any:
    if not magic.startswith((b"PK\x03\x04", b"\x80")):
        raise UserError(
            f"checkpoint {path} is neither a safetensors file (by its suffix) nor a file of "
            "torch.save; name a checkpoint"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "magic number" in str(error):
            raise _damaged(path, error) from error
        found = re.search(r"GLOBAL (\S+)", str(error))
        raise UserError(
            f"refused checkpoint {path}: it holds a pickle that would run code on loading"
            + (f" ({found[1]})" if found else "")
            + "; convert its weights to safetensors where you trust it"
        ) from error
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    reason = re.split(r"[.\n]", str(error))[0][:120] or type(error).__name__
    return UserError(
        f"checkpoint {path} is damaged or cut short ({reason}); download or copy it again"
    )


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    for _ in _WRAPPERS:  # as many levels as there are wrappers
        inner = [
            content[key]
            for key in _WRAPPERS
            if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)
        ]
        content = inner[0] if inner else content
    if isinstance(content, Mapping):
        tensors = all(isinstance(value, Tensor) for value in content.values())
        if content and tensors and all(isinstance(key, str) for key in content):
            return dict(content)
    held = f"keys {_shorten(map(repr, content))}" if isinstance(content, Mapping) else "no mapping"
    raise UserError(
        f"checkpoint {path} holds no state dict (tensors by name, alone or under "
        f"{', '.join(_WRAPPERS)}), but {held}; save model.state_dict()"
    )


def _strip_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def _drop_normalisation(
    state: dict[str, Tensor],
    expected: Mapping[str, Tensor],
    config: Mapping[str, Any],
    path: str | Path,
) -> None:
    for key, entry in (("mu", "mean"), ("sigma", "std")):
        if key not in state or key in expected or entry not in config:
            continue
        held = state.pop(key).flatten().double()
        wanted = torch.tensor(config[entry], dtype=torch.float64)
        if held.shape != wanted.shape or not torch.allclose(held, wanted, atol=1e-3):
            raise UserError(
                f"checkpoint {path} normalises with {entry} {held.tolist()}, this architecture "
                f"with {wanted.tolist()}; choose the architecture it was trained as"
            )


def _check_keys(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: str | Path, name: str
) -> None:
    problems = {
        "missing": [key for key in expected if key not in state],
        "unexpected": [key for key in state if key not in expected],
        "of another shape": [
            f"{key} {list(state[key].shape)} instead of {list(value.shape)}"
            for key, value in expected.items()
            if key in state and state[key].shape != value.shape
        ],
    }
    found = [f"{kind}: {_shorten(keys)}" for kind, keys in problems.items() if keys]
    if found:
        raise UserError(
            f"checkpoint {path} does not fit backbone {name!r}; {'; '.join(found)}; choose the "
            "architecture and number of classes it was trained with"
        )


def _shorten(items: Iterable[str]) -> str:
    items = list(items)
    rest = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return ", ".join(items[:_LISTED]) + rest
