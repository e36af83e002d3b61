"""What a network computes by beside its tensors: kept in a checkpoint's header, and compared.

The one list of it: eps of the layers, mean and std, the size of images, the number and the names
of outputs. A file that lacks them is loaded as its architecture is configured. What else there is
lies among the tensors of the file, as domain heads, adapters and the mark of instance-aware batch
norm do, or follows from the architecture.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from tta.backbones.backbone import Backbone
from tta.backbones.layer_eps import LAYER_EPS, layer_eps
from tta.backbones.model_card import HEADER
from tta.foundation.geometry import in_words
from tta.foundation.normalisation import shortest
from tta.ops.norm.instance_aware import instance_aware_layers
from tta.tasks.classes.lists import own_names


def header_facts(backbone: Backbone) -> dict[str, str]:
    """Return the entries of a safetensors header by which a network is made again.

    ``architecture``, ``num_classes``, ``layer_eps`` and ``pretrained_cfg``, the latter two as JSON.
    :mod:`tta.backbones.layer_eps` and :func:`tta.backbones.model_card.read_card` read them.
    """
    mean, std = backbone.normalisation
    names = _plain(backbone.label_names)
    card = {
        "mean": list(mean),
        "std": list(std),
        "input_size": list(backbone.input_size),
        "num_classes": backbone.outputs,
        **({} if names is None else {"label_names": names}),
    }
    return {
        "architecture": backbone.name,
        "num_classes": str(backbone.num_classes),
        LAYER_EPS: json.dumps(layer_eps(backbone.model)),
        HEADER: json.dumps(card),
    }


def _plain(names: Sequence[str] | Mapping[object, str] | None) -> list[str] | dict[str, str] | None:
    if isinstance(names, Mapping):
        return {str(output): str(name) for output, name in names.items()}
    return None if names is None else list(map(str, names))


def difference_in_facts(one: Backbone, other: Backbone) -> str:
    """Return in words by what two networks compute differently; empty where it is the same.

    Tensors aside. Names of outputs are compared where both have them.
    """
    return next((words for words in _differences(one, other) if words), "")


def _differences(one: Backbone, other: Backbone) -> Iterator[str]:
    yield difference_in_layers(one.model, other.model)
    pair = [backbone.normalisation for backbone in (one, other)]
    if pair[0] != pair[1]:
        words = [f"mean {shortest(mean)}, std {shortest(std)}" for mean, std in pair]
        yield f"they normalise images by {words[0]} and by {words[1]}"
    sizes = [backbone.input_size for backbone in (one, other)]
    if sizes[0] != sizes[1]:
        yield "they take images of {} and of {}".format(*(in_words(size[1:]) for size in sizes))
    yield _difference_in_names(one, other)


def _difference_in_names(one: Backbone, other: Backbone) -> str:
    first, second = (own_names(b.outputs, b.label_names) for b in (one, other))
    if first is None or second is None or len(first.names) != len(second.names):
        return ""
    pairs = enumerate(zip(first.names, second.names, strict=True))
    output = next((output for output, (a, b) in pairs if a != b), None)
    if output is None:
        return ""
    return (
        f"output {output} is {first.names[output]!r} in one and {second.names[output]!r} in the "
        "other"
    )


def difference_in_layers(one: nn.Module, other: nn.Module) -> str:
    """Return in words by what layers of two networks compute differently, tensors aside."""
    if bool(instance_aware_layers(one)) != bool(instance_aware_layers(other)):
        return "the batch norm of one is instance-aware, of the other plain"
    first, second = layer_eps(one), layer_eps(other)
    unlike = [layer for layer in first if second.get(layer, first[layer]) != first[layer]]
    if not unlike:
        return ""
    layer, count = unlike[0], len(unlike)
    return (
        f"{count} layer{'s' * (count > 1)} have another eps, {layer!r} first: {first[layer]:g} and "
        f"{second[layer]:g}"
    )
