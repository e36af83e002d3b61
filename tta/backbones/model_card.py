"""What is said in a checkpoint, and in files beside it, of how its network was trained."""

from __future__ import annotations

import dataclasses
import json
import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tta.backbones.checkpoint_file import CheckpointFile
from tta.backbones.layer_eps import LAYER_EPS
from tta.foundation.errors import UserError
from tta.foundation.geometry import LARGEST_SIDE
from tta.foundation.inputs import regular_file, shown_path
from tta.foundation.normalisation import check_normalisation, shortest, spread

UNSTATED = "the checkpoint names none"
"""End of what is said of a normalisation that the user had better check."""
HEADER = "pretrained_cfg"
"""Key of a safetensors header's metadata: such a configuration as JSON, exact to the last digit."""
_INSIDE = ("pretrained_cfg", "hyper_parameters", "hparams", "args", "config")
_BESIDE = ("config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class ModelCard:
    """Facts about a network; None and empty where nothing is said.

    Attributes:
        mean: per channel, for images in [0, 1].
        std: likewise.
        input_size: (C, H, W) of one image.
        num_classes: outputs of the classifier.
        label_names: of the outputs, as timm's configurations give them: a sequence, or a mapping
            from an output.
        origin: where mean and std are from, in words.
        exact: whether mean and std have all their digits, so that near ones are others.
        words: what was found and is not used, in words.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    input_size: tuple[int, ...] | None = None
    num_classes: int | None = None
    label_names: Sequence[str] | Mapping[str, str] | None = None
    origin: str = ""
    exact: bool = False
    words: str = ""

    def with_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> ModelCard:
        """Return the card with what the checkpoint holds among its tensors."""
        origin = "kept in the checkpoint"
        mean, std = spread(mean), spread(std)
        return dataclasses.replace(self, mean=mean, std=std, origin=origin, exact=False)


def read_card(file: CheckpointFile, architecture: str) -> ModelCard:
    """Return what the checkpoint says, in its header or inside, else ``config.json`` beside it.

    That file is as timm writes it for its hub, ``{"architecture": ..., "pretrained_cfg": {"mean":
    ..., "std": ..., "input_size": ...}}``; one for another architecture is not used.

    Raises:
        UserError: the file beside it, or what this package wrote in the header, is damaged.
    """
    card = _card(_in_header(file), f"{HEADER!r} in the header of")
    if card.mean is None and {LAYER_EPS, HEADER} <= file.metadata.keys():  # written by this package
        raise UserError(
            f"{shown_path(file.path)}: its header's {HEADER!r} is damaged, which says how images "
            "are normalised; write the file again"
        )
    if card != ModelCard():
        return dataclasses.replace(card, exact=card.mean is not None)
    if isinstance(file.content, Mapping):
        for key in _INSIDE:
            found = file.content.get(key)
            card = _card(vars(found) if isinstance(found, Namespace) else found, f"{key!r} in")
            if card.mean is not None:
                return card
    for name in _BESIDE:
        beside = file.path.with_name(name)
        if not beside.is_file():
            continue
        facts = read_json(beside)
        theirs = facts.get("architecture")
        if isinstance(theirs, str) and theirs.partition(".")[0] != architecture.partition(".")[0]:
            return ModelCard(words=f"{name} beside the checkpoint is of {theirs!r} and not used")
        card = _card(facts, f"{name} beside")
        if card != ModelCard():
            return card
    return ModelCard()


def _in_header(file: CheckpointFile) -> Any:
    """Return the configuration in a safetensors header; None where there is none that is one."""
    try:
        return json.loads(file.metadata.get(HEADER, "null"))
    except (ValueError, RecursionError):  # somebody else's
        return None


def read_json(path: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file beside a checkpoint; an empty one for anything else.

    Raises:
        UserError: it cannot be read.
    """
    try:
        facts = json.loads(regular_file(path, "file").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{shown_path(path)}, beside the checkpoint, cannot be read as JSON ({error}); mend "
            "it, or move the checkpoint to another folder"
        ) from error
    return facts if isinstance(facts, dict) else {}


def _card(facts: Any, place: str) -> ModelCard:
    """Return the facts in a mapping, or in its ``pretrained_cfg``."""
    if not isinstance(facts, Mapping):
        return ModelCard()
    inner = facts.get("pretrained_cfg")
    inner = inner if isinstance(inner, Mapping) else {}

    def first(*names: str) -> Any:
        return next((m[n] for m in (inner, facts) for n in names if m.get(n) is not None), None)

    mean, std = _numbers(first("mean", "image_mean")), _numbers(first("std", "image_std"))
    known = mean is not None and std is not None
    classes, names = first("num_classes"), first("label_names")
    size = _numbers(first("input_size"))
    whole = size is not None and len(size) == 3 and all(side % 1 == 0 for side in size)
    fits = whole and size[0] == 3 and all(1 <= side <= LARGEST_SIDE for side in size)
    return ModelCard(
        mean=spread(mean) if known else None,
        std=spread(std) if known else None,
        input_size=tuple(map(int, size)) if fits else None,
        num_classes=classes if type(classes) is int and classes > 0 else None,
        label_names=names if isinstance(names, list | tuple | Mapping) else None,
        origin=f"{place} the checkpoint" if known else "",
    )


def _numbers(value: Any) -> tuple[float, ...] | None:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) not in (1, 3):
        return None
    numbers = all(isinstance(item, int | float) and not isinstance(item, bool) for item in value)
    return tuple(map(_float, value)) if numbers else None


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # of a whole number; what is in range is checked later
        return math.inf


def choose_normalisation(
    card: ModelCard,
    config: Mapping[str, Any],
    usual: str,
    given: tuple[Sequence[float], Sequence[float]] | None,
    own_weights: bool,
) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Return mean and std per channel, and in words what they are and where from.

    Args:
        card: what the checkpoint says.
        config: what is usual for the architecture, as timm's configurations have it.
        usual: who says that, in words.
        given: mean and std of the user, which go over both.
        own_weights: the weights are of a file, and not timm's.

    Raises:
        UserError: the checkpoint's are out of range.
    """
    timms = (tuple(config["mean"]), tuple(config["std"]))
    stated = (card.mean, card.std) if card.mean is not None else None
    if given is not None:
        chosen, origin = (spread(given[0]), spread(given[1])), "--mean and --std"
        told = (stated, card.origin) if stated else (timms, usual)
        if not _alike(chosen, told[0]):
            origin += f" ({told[1]} says {_shown(*told[0])})"
    elif stated is not None:
        check_normalisation(*stated, card.origin)
        near = _alike(stated, timms) and not card.exact
        chosen, origin = (timms if near else stated), card.origin
    else:
        chosen, origin = timms, usual
    unstated = UNSTATED if own_weights and stated is None and given is None else ""
    words = filter(None, (f"{_shown(*chosen)}: {origin}", card.words, unstated))
    return *chosen, "; ".join(words)


def _alike(
    one: tuple[Sequence[float], Sequence[float]], other: tuple[Sequence[float], Sequence[float]]
) -> bool:
    """Compare as far as files keep digits: a mean of 0.4914 is one of 0.49139968."""
    pairs = zip((*one[0], *one[1]), (*other[0], *other[1]), strict=False)
    return len(one[0]) == len(other[0]) and all(abs(a - b) < 1e-3 for a, b in pairs)


def _shown(mean: Sequence[float], std: Sequence[float]) -> str:
    return f"mean {shortest(mean)}, std {shortest(std)}"
