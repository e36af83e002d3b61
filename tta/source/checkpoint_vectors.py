"""Weight vectors and a network: made from checkpoints of it, and whether they are of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tta.backbones.backbone import Backbone, copy_module
from tta.backbones.checkpoint import load_checkpoint
from tta.backbones.checkpoint_file import CheckpointFile, read_checkpoint
from tta.backbones.layer_eps import put_back_eps
from tta.backbones.model_card import read_card
from tta.backbones.network_facts import difference_in_layers
from tta.backbones.split import SplitModel
from tta.foundation.errors import UserError
from tta.foundation.inputs import check_once, shown_path
from tta.foundation.normalisation import shortest
from tta.source.alike import LEAST_COSINE, mean_cosine
from tta.source.weight_vectors import Vector, WeightVectors


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
        content = read_checkpoint(file)
        network = _trained(content, backbone)
        if words := difference_in_layers(backbone.model, network) or _other_images(
            content, backbone
        ):
            raise _misfit(shown_path(file), backbone.name, words)
        end = dict(network.named_parameters())
        _check_start(start, end, file)
        found[str(file)] = {key: end[key].detach() - value for key, value in start.items()}
    return WeightVectors(found)


def _other_images(content: CheckpointFile, backbone: Backbone) -> str:
    """Return how images were normalised where the header says so and it is not as now."""
    card = read_card(content, backbone.name)
    if not card.exact or (card.mean, card.std) == backbone.normalisation:
        return ""
    return f"it was trained on images less mean {shortest(card.mean)}, by std {shortest(card.std)}"


def _trained(content: CheckpointFile, backbone: Backbone) -> nn.Module:
    """Return the network of a checkpoint, as ``create_backbone`` would load it."""
    model = copy_module(backbone.model)
    put_back_eps(model.network if isinstance(model, SplitModel) else model)
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
