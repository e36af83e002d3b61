"""Loading a checkpoint into a model without silence: all of it that counts, and what was done."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tta.backbones.checkpoint_checks import check_keys, check_values, shorten
from tta.backbones.checkpoint_file import CheckpointFile
from tta.backbones.domain_heads import split_state
from tta.backbones.key_names import Converted, convert, with_new_weight_norm
from tta.backbones.layer_eps import set_eps, stored_eps
from tta.backbones.leftovers import take_bookkeeping, take_classifier, take_normalisation
from tta.backbones.merged_words import merged_words
from tta.backbones.state_dicts import (
    Network,
    StateDict,
    choose,
    networks,
    state_dicts,
    without_wrappers,
)
from tta.foundation.errors import UserError
from tta.foundation.inputs import shown_path
from tta.ops.norm.batch_norm import replace_batch_norm
from tta.ops.norm.instance_aware import InstanceAwareBatchNorm

INSTANCE_AWARE = "instance_aware_norm"
"""Key of a tensor whose presence tells that the network was trained with such batch norm."""
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Loaded:
    """What a checkpoint held beside the network that was loaded.

    Attributes:
        heads: heads of single source domains, for ``tta.backbones.domain_heads``.
        normalisation: mean and std per channel that the network was wrapped with, or None.
        words: what was read, and how it was taken.
    """

    heads: dict[str, Tensor]
    normalisation: tuple[tuple[float, ...], ...] | None
    words: str


@dataclass
class _Parts:
    """A network's tensors by the names of the model, and what is left over."""

    state: dict[str, Tensor]
    rest: dict[str, Tensor]
    words: list[str] = field(default_factory=list)


def load_checkpoint(
    model: nn.Module,
    file: CheckpointFile,
    name: str,
    kind: str = "auto",
    classifier: str | None = None,
) -> Loaded:
    """Load the network in a checkpoint into ``model``, every key of it and nothing else.

    It may lie at any depth, its names may have any prefix, and be torchvision's or others that
    timm knows; the classifier may have another name. What training left behind is left out:
    counters, losses, an optimizer. The batch norm of a network that was trained with
    instance-aware layers becomes such layers.

    Args:
        model: a network.
        file: the checkpoint.
        name: the architecture.
        kind: of averaged and trained weights, see ``tta.backbones.state_dicts.choose``.
        classifier: what the names of the classifier's tensors begin with; None asks the model.

    Raises:
        UserError: there is no such network, or several; keys are missing, unexpected or of
            another shape; tensors are quantised, or not finite.
    """
    expected, path = model.state_dict(), shown_path(file.path)
    classifier = _classifier_prefix(model) if classifier is None else classifier
    found = [
        StateDict(state.place, with_new_weight_norm(state.tensors, expected))
        for state in state_dicts(file.content)
    ]
    if not found:
        raise _no_state_dict(file, path)
    network, eps, words = _find(found, model, name, classifier, kind, path)
    parts = _parts(network, expected, classifier)
    normalisation = take_normalisation(parts.rest)
    rest, heads = split_state(parts.rest)
    instance_aware = rest.pop(INSTANCE_AWARE, None) is not None
    if left := take_bookkeeping(rest):
        parts.words.append(f"left out: {shorten(left)}")
    state = parts.state | rest
    check_keys(state, expected, path, name, classifier)
    converted = check_values(state, expected, path)
    model.load_state_dict(state)
    stored = stored_eps(file.metadata, model, path)
    set_eps(model, eps | stored)
    if instance_aware:
        replace_batch_norm(model, InstanceAwareBatchNorm)
    count = len(stored)
    kept = f"eps of {count} layer{'s' * (count > 1)} as its header says" if stored else ""
    said = [file.form, merged_words(file.metadata), *words, *parts.words, kept, converted]
    return Loaded(
        heads, normalisation, f"{file.path.name}: {'; '.join(filter(None, said)) or 'as it is'}"
    )


def _classifier_prefix(model: nn.Module) -> str:
    """Return what the names of the classifier's tensors begin with; empty where there is none."""
    classifier = model.get_classifier() if hasattr(model, "get_classifier") else None
    names = [name for name, module in model.named_modules() if module is classifier]
    return f"{names[0]}." if names and names[0] else ""


def _no_state_dict(file: CheckpointFile, path: str) -> UserError:
    content = file.content
    held = f"keys {shorten(map(repr, content))}" if isinstance(content, Mapping) else "no mapping"
    return UserError(
        f"checkpoint {path} holds no state dict (tensors by name, alone or within mappings), but "
        f"{held}; save model.state_dict()"
    )


def _find(
    found: list[StateDict], model: nn.Module, name: str, classifier: str, kind: str, path: str
) -> tuple[Network, dict[str, float], list[str]]:
    """Return the network to load, eps of layers to change, and what was done, in words."""
    body = [
        key
        for key in model.state_dict()
        if not key.endswith(_COUNTER) and not (classifier and key.startswith(classifier))
    ]
    fitting = [(network, None) for network in networks(found, body)]
    fitting = fitting or _converted(found, model, name, body)
    if not fitting:  # the check of keys says what is wrong with the likeliest
        largest = max(found, key=lambda state: len(state.tensors))
        return Network(largest.place, "", without_wrappers(largest.tensors)[1], {}), {}, []
    network, choice = choose([network for network, _ in fitting], kind, path)
    done = next(done for other, done in fitting if other is network)
    words = [
        f"under {network.place!r}" if network.place else "",
        choice,
        f"prefix {network.prefix!r} taken off" if network.prefix else "",
        done.words if done else "",
    ]
    return network, done.eps if done else {}, words


def _converted(
    found: list[StateDict], model: nn.Module, name: str, body: list[str]
) -> list[tuple[Network, Converted]]:
    """Return what can be turned into the model's names, each with how it was done."""
    fitting = []
    for state in found:
        prefix, tensors = without_wrappers(state.tensors)
        done = convert(tensors, model, name, body)
        if done is not None:
            fitting.append((Network(state.place, prefix, done.tensors, {}), done))
    return fitting


def _parts(network: Network, expected: Mapping[str, Tensor], classifier: str) -> _Parts:
    """Sort a network's tensors into the model's and others, the classifier by what it is."""
    state = {key: value for key, value in network.tensors.items() if key in expected}
    rest = {
        network.prefix + key: value for key, value in network.tensors.items() if key not in expected
    }
    parts = _Parts(state, {**rest, **network.rest})
    for key, value in expected.items():
        if key.endswith(_COUNTER):  # unused with running statistics
            state.setdefault(key, value)
    wanted = {
        key.removeprefix(classifier): value
        for key, value in expected.items()
        if classifier and key.startswith(classifier)
    }
    if any(f"{classifier}{part}" in state for part in wanted):
        return parts
    taken = take_classifier(parts.rest, wanted, network.prefix)
    if taken is not None:
        layer, tensors = taken
        parts.words.append(f"classifier from {layer!r}")
        for part, value in tensors.items():
            state[f"{classifier}{part}"] = value.reshape(wanted[part].shape)
    return parts


def weights_sha256(model: nn.Module) -> str:
    """Return a SHA-256 over the sorted (key, dtype, shape, bytes) of the model's state dict.

    It does not depend on the file format. Batch counters are left out: files of the same network
    hold them or not. Where a checkpoint has changed the eps of layers, these are in it too.
    """
    digest = hashlib.sha256()
    for layer, eps in sorted(getattr(model, "changed_eps", {}).items()):
        digest.update(f"{layer} eps {eps}\n".encode())
    for key, value in sorted(model.state_dict().items()):
        if isinstance(value, Tensor) and not key.endswith(_COUNTER):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
