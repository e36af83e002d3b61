"""A network of the user's program as a backbone: whose it is, and what is known of its images."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from tta.backbones.backbone import Backbone, copy_module
from tta.backbones.dense.backbone import DenseBackbone
from tta.backbones.dense.own import gives_maps, split_dense
from tta.backbones.split import SplitModel, find_split
from tta.foundation.errors import WRONG_VALUES, UserError, message_of
from tta.foundation.normalisation import (
    CHANNELS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    check_normalisation,
    shortest,
    spread,
)


@dataclass(frozen=True)
class ImageFacts:
    """How a network wants its images.

    Attributes:
        mean: per channel, for images in [0, 1].
        std: likewise.
        input_size: (C, H, W).
        origin: who says so, in words.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: tuple[int, ...]
    origin: str


def take_model(
    model: nn.Module,
    name: str | None = None,
    class_subset: Sequence[int] | None = None,
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    input_size: Sequence[int] | None = None,
    num_classes: int | None = None,
    split: str | None = None,
) -> Backbone:
    """See :func:`tta.backbones.wrap_model`."""
    if isinstance(model, Backbone):
        return _copied(model, mean, std, input_size, split)
    network = bare_network(model)
    name = name or _own_name(network)
    _check_weights(network, name)
    facts = _with_given(image_facts(network, name), name, mean, std, input_size)
    with _refused(name):
        taken = network
        if split is not None or not _is_timms(network):
            taken = _split(network, facts, name, split)
        kind = DenseBackbone if getattr(taken, "dense", False) else Backbone
        backbone = kind(
            taken,
            name=name,
            input_size=facts.input_size,
            mean=facts.mean,
            std=facts.std,
            class_subset=class_subset,
        )
    if num_classes not in (None, backbone.outputs):
        raise UserError(
            f"model {name!r} has {backbone.outputs} outputs, and num_classes={num_classes} was "
            "given; leave it out, or give the model a classifier of that size"
        )
    backbone.label_names = (getattr(network, "pretrained_cfg", None) or {}).get("label_names")
    backbone.understood.update(_understood(backbone, facts, model))
    return backbone


def _copied(backbone: Backbone, *given: Any) -> Backbone:
    if any(value is not None for value in given):
        raise UserError(
            f"{backbone.name!r} is a Backbone, which has its mean, std, input_size and split: "
            "leave them out"
        )
    return backbone.clone()


def bare_network(model: Any) -> nn.Module:
    """Return a network without what runs it elsewhere or faster: DataParallel, ``torch.compile``.

    Raises:
        UserError: it is no ``nn.Module``.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"an nn.Module is expected as the model, but got a {_kind(model)}")
    inner = _inside(model)
    return model if inner is None else bare_network(inner)


def _kind(value: Any) -> str:
    text = f" {value!r}" if isinstance(value, str) else ""
    return f"{type(value).__name__}{text}"


def _inside(model: nn.Module) -> nn.Module | None:
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return model.module
    return getattr(model, "_orig_mod", None)


def image_facts(network: nn.Module, name: str) -> ImageFacts | None:
    """Return what timm or torchvision says of a network of theirs; None for any other."""
    if _is_timms(network):
        from timm.data import resolve_data_config

        config = resolve_data_config({}, model=network)
        channels, *size = config["input_size"]
        size = getattr(getattr(network, "patch_embed", None), "img_size", None) or size
        mean, std = tuple(config["mean"]), tuple(config["std"])
        return ImageFacts(mean, std, (channels, *size), f"timm's configuration of {name}")
    if type(network).__module__.startswith("torchvision.models."):
        side = getattr(network, "image_size", 224)
        words = "ImageNet's, as torchvision's weights"
        return ImageFacts(IMAGENET_MEAN, IMAGENET_STD, (CHANNELS, side, side), words)
    return None


def _is_timms(network: nn.Module) -> bool:
    return bool(getattr(network, "pretrained_cfg", None)) and hasattr(network, "forward_features")


def _own_name(network: nn.Module) -> str:
    config = getattr(network, "pretrained_cfg", None) if _is_timms(network) else None
    architecture, tag = (getattr(config, key, None) for key in ("architecture", "tag"))
    if isinstance(config, dict):
        architecture, tag = config.get("architecture"), config.get("tag")
    return ".".join(filter(None, (architecture, tag))) or type(network).__name__


def _with_given(
    facts: ImageFacts | None,
    name: str,
    mean: float | Sequence[float] | None,
    std: float | Sequence[float] | None,
    input_size: Sequence[int] | None,
) -> ImageFacts:
    """Return the facts with what the user says over them, and nothing left open."""
    if input_size is None and facts is None:
        raise UserError(
            f"model {name!r} does not say which images it takes; pass input_size=(C, H, W)"
        )
    size = facts.input_size if input_size is None and facts else _checked_size(input_size)
    if (mean is None) != (std is None):
        raise UserError("mean and std belong together: pass both")
    if mean is not None and std is not None:
        chosen = spread(mean, size[0]), spread(std, size[0])
        check_normalisation(*chosen, "mean and std", size[0])
        return ImageFacts(*chosen, size, "as given")
    if facts is None:
        words = "none was given, so that the model gets images in [0, 1] as they are"
        return ImageFacts((0.0,) * size[0], (1.0,) * size[0], size, words)
    if len(facts.mean) != size[0]:
        raise UserError(f"model {name!r} takes {size[0]} channels: pass a mean and a std for each")
    return dataclasses.replace(facts, input_size=size)


def _checked_size(input_size: Any) -> tuple[int, ...]:
    size = tuple(input_size) if isinstance(input_size, Sequence) else (input_size,)
    size = (CHANNELS, *size) if len(size) == 2 else size
    if len(size) != 3 or not all(type(side) is int and side > 0 for side in size):
        raise UserError(
            f"input_size={input_size!r} must be (C, H, W), or (H, W) for three channels"
        )
    return size


def _check_weights(network: nn.Module, name: str) -> None:
    parameters = list(network.parameters())
    if not parameters:
        raise UserError(f"model {name!r} has no parameters: there is nothing to adapt")
    if any(map(is_lazy, parameters)):
        raise UserError(f"model {name!r} has lazy layers; run it on one batch before")
    devices = {str(parameter.device) for parameter in parameters}
    if len(devices) > 1 or "meta" in devices:
        raise UserError(
            f"model {name!r} has weights on {', '.join(sorted(devices))}; move it to one device"
        )
    kinds = {p.dtype for p in parameters if p.is_floating_point()} - {torch.float32}
    if kinds:
        raise UserError(
            f"model {name!r} has weights of {', '.join(sorted(map(str, kinds)))}, and float32 is "
            "expected: pass model.float()"
        )


@contextlib.contextmanager
def _refused(name: str) -> Iterator[None]:
    """Turn what a network raises while it is copied and tried into a refusal."""
    try:
        yield
    except WRONG_VALUES as error:
        if isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        raise UserError(
            f"model {name!r} cannot be taken ({type(error).__name__}: {message_of(error)[:200]}); "
            "it must be one that copy.deepcopy copies and that takes images of input_size"
        ) from error


def _split(network: nn.Module, facts: ImageFacts, name: str, split: str | None) -> nn.Module:
    network = _all_bare(copy_module(network).requires_grad_(False)).eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, *facts.input_size, generator=generator).to(_first(network).device)
    if gives_maps(network, images):
        return split_dense(network, images, name, split)
    return SplitModel(network, find_split(network, images, name, split))


def _first(network: nn.Module) -> nn.Parameter:
    return next(network.parameters())


def _all_bare(network: nn.Module) -> nn.Module:
    """Take :func:`bare_network` of every part, in place."""
    for part in list(network.modules()):
        for name, child in part.named_children():
            if _inside(child) is not None:
                setattr(part, name, bare_network(child))
    return network


def _understood(backbone: Backbone, facts: ImageFacts, model: nn.Module) -> dict[str, str]:
    mean, std = backbone.normalisation
    words = f"mean {shortest(mean)}, std {shortest(std)}: {facts.origin}"
    notes = {"normalisation": words}
    layer = backbone.classifier
    if isinstance(backbone.model, SplitModel):
        notes["head"] = (
            f"layer {backbone.model.split!r}, a {type(layer).__name__} of {backbone.feature_dim} "
            f"features and {backbone.outputs} outputs"
        )
    if bare_network(model) is not model:
        notes["weights"] = f"those inside its {type(model).__name__}"
    return notes
