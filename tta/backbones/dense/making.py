"""Making networks that segment from their names; the one place that knows how each is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import timm
from timm.data import resolve_data_config
from torch import nn

from tta.backbones.checkpoint_file import CheckpointFile
from tta.backbones.dense.decoders import AtrousPyramid, EncoderDecoder, LiteRaspp
from tta.backbones.dense.wrappers import DenseSplit, wrapped
from tta.backbones.model_card import read_json
from tta.backbones.state_dicts import state_dicts
from tta.foundation.errors import UserError
from tta.foundation.normalisation import CHANNELS, IMAGENET_MEAN, IMAGENET_STD
from tta.ops.generators import seeded_layers

_OUTPUTS = 21
"""Of torchvision's networks, where nothing says how many: Pascal VOC's classes."""
_SIDE = 224


@dataclass(frozen=True)
class Made:
    """A network, before its weights are loaded.

    Attributes:
        network: which the checkpoint's names are of.
        classifier: what the names of its last convolution begin with.
        finish: turns it into one with ``forward_features`` and ``get_classifier``.
        config: mean, std and input size, as timm's configurations have them.
        origin: whose these are, in words.
    """

    network: nn.Module
    classifier: str
    finish: Callable[[nn.Module], nn.Module]
    config: dict[str, Any]
    origin: str


def make_network(name: str, file: CheckpointFile | None, num_classes: int | None) -> Made:
    """Return the network that ``KIND:NAME`` means, with random weights.

    Args:
        name: see :mod:`tta.backbones.dense.names`.
        file: a checkpoint, which tells the number of classes where nothing else does.
        num_classes: outputs, or None.

    Raises:
        UserError: the encoder has no maps for the decoder, or the package refuses the name.
    """
    kind, _, rest = name.partition(":")
    outputs = num_classes or _outputs_of(file, _classifier_of(kind, rest)) or _OUTPUTS
    with seeded_layers(0):
        if kind == "smp":
            return _of_package(rest, outputs, _saved_options(file))
        return _MAKERS[kind](rest, outputs)


def _classifier_of(kind: str, name: str) -> str:
    """Return what the names of the last convolution's tensors begin with."""
    if kind == "torchvision":
        return "classifier.low_classifier." if name.startswith("lraspp") else "classifier.4."
    return "segmentation_head.0." if kind == "smp" else "classifier."


def _outputs_of(file: CheckpointFile | None, layer: str) -> int | None:
    """Return the rows of the classifier in a checkpoint, under whatever prefix, if it is there."""
    found = state_dicts(file.content) if file else []
    weights = [
        value
        for state in found
        for key, value in state.tensors.items()
        if f".{key}".endswith(f".{layer}weight")
    ]
    return len(weights[0]) if weights else None


def _lite(name: str, outputs: int) -> Made:
    reductions = _encoder(name).feature_info.reduction()
    low, high = (_last_within(reductions, max(reductions) // part) for part in (4, 2))
    if low is None or high is None or reductions[low] == reductions[high]:
        raise UserError(
            f"encoder {name!r} has maps at strides {sorted(set(reductions))}, and lraspp takes two "
            "of different strides; choose an encoder with stages, or deeplabv3"
        )
    encoder = _encoder(name, out_indices=(low, high))
    return _with_decoder(name, encoder, LiteRaspp(*encoder.feature_info.channels()), outputs)


def _last_within(reductions: list[int], most: int) -> int | None:
    return max((k for k, one in enumerate(reductions) if one <= most), default=None)


def _pyramid(name: str, outputs: int) -> Made:
    deepest = len(_encoder(name).feature_info.reduction()) - 1
    try:
        encoder = _encoder(name, out_indices=(deepest,), output_stride=16)
    except UserError:  # it cannot be dilated
        encoder = _encoder(name, out_indices=(deepest,))
    return _with_decoder(name, encoder, AtrousPyramid(*encoder.feature_info.channels()), outputs)


def _encoder(name: str, **options: Any) -> nn.Module:
    try:
        return timm.create_model(name, features_only=True, **options)
    except (RuntimeError, AttributeError, LookupError, TypeError, NotImplementedError) as error:
        raise UserError(
            f"timm's {name!r} gives no maps of its stages ({error}); choose another encoder"
        ) from error


def _with_decoder(name: str, encoder: nn.Module, decoder: nn.Module, outputs: int) -> Made:
    network = EncoderDecoder(encoder, decoder, outputs)
    config = resolve_data_config({}, model=encoder)
    words = f"timm's configuration of {name}"
    return Made(network, _classifier_of("", name), _as_it_is, config, words)


def _as_it_is(network: nn.Module) -> nn.Module:
    return network


def _torchvision(name: str, outputs: int) -> Made:
    import torchvision

    network = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=outputs
    )
    words = "ImageNet's, as torchvision's weights"
    return Made(network, _classifier_of("torchvision", name), wrapped, _imagenet(), words)


def _of_package(name: str, outputs: int, options: dict[str, Any]) -> Made:
    import segmentation_models_pytorch as smp

    architecture, _, encoder = name.partition(":")
    options = {**options, "encoder_weights": None, "classes": outputs}
    try:
        network = smp.create_model(architecture, encoder, **options)
    except (KeyError, ValueError, TypeError) as error:
        reason = str(error).strip("\"'")[:200]
        raise UserError(f"segmentation_models_pytorch refuses {name!r}: {reason}") from error
    layer = _classifier_of("smp", name)
    words = "ImageNet's, as most encoders of segmentation_models_pytorch"
    return Made(network, layer, partial(_split_at, layer.rstrip(".")), _imagenet(), words)


def _saved_options(file: CheckpointFile | None) -> dict[str, Any]:
    """Return what ``config.json`` beside a checkpoint, as that package saves it, says of it."""
    beside = file.path.with_name("config.json") if file else None
    if beside is None or not beside.is_file():
        return {}
    facts = read_json(beside)
    if "_model_class" not in facts:
        return {}
    known = ("encoder_name", "classes", "encoder_weights")
    return {key: value for key, value in facts.items() if key[0] != "_" and key not in known}


def _split_at(layer: str, network: nn.Module) -> nn.Module:
    return DenseSplit(network, layer, align_corners=True)


def _imagenet() -> dict[str, Any]:
    return {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "input_size": (CHANNELS, _SIDE, _SIDE)}


_MAKERS = {
    "lraspp": _lite,
    "deeplabv3": _pyramid,
    "torchvision": _torchvision,
}
