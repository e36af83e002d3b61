"""A data set of one's own class, looked at before a stream of it is planned."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tta.datasets.base import Dataset
from tta.foundation.errors import UserError
from tta.foundation.own_file import faults_of
from tta.tasks.open_set import UNKNOWN


def open_own(kind: type[Dataset], specification: str) -> Dataset:
    """Return an object of one's own class, after a look at its facts, labels and first image.

    Raises:
        UserError: something is missing or of another form, or the class itself raises.
    """
    with faults_of(f"dataset {specification!r}", kind):
        made = kind.open("", None)
        _check_facts(made, specification)
        for domain in made.domains:
            labels = made.labels(domain, made.default_severity)
            _check_labels(labels, made.num_classes, f"{specification!r}, domain {domain!r}")
        first = made.domains[0], made.default_severity, np.array([0])
        image = made.images(*first)
        _check_image(image, specification)
        if made.dense:
            _check_label_map(made.label_maps(*first), image, made, specification)
    return made


def _check_facts(made: Dataset, specification: str) -> None:
    wanted = {
        "name": lambda value: isinstance(value, str) and bool(value),
        "domains": lambda value: (
            isinstance(value, tuple) and bool(value) and all(isinstance(x, str) for x in value)
        ),
        "num_classes": lambda value: isinstance(value, int) and value > 1,
    }
    forms = {"name": "a text", "domains": "a tuple of names", "num_classes": "a number above 1"}
    for fact, is_whole in wanted.items():
        value = getattr(made, fact, None)
        if not is_whole(value):
            said = "has no" if value is None else f"has {value!r} as"
            raise UserError(f"dataset {specification!r} {said} {fact}; give it {forms[fact]}")
    names = made.class_names
    if names is not None and not _are_names(names, made.num_classes):
        raise UserError(
            f"dataset {specification!r} has {names!r:.80} as class_names; give it "
            f"{made.num_classes} different texts, one for each class, or None"
        )


def _are_names(names: object, count: int) -> bool:
    return (
        isinstance(names, tuple | list)
        and len(names) == len(set(map(str, names))) == count
        and all(isinstance(name, str) and name for name in names)
    )


def _check_labels(labels: object, num_classes: int, whose: str) -> None:
    form = isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "iu"
    if not form or not len(labels):
        raise UserError(f"labels() of {whose} gives no int64 array [N]; N must be at least 1")
    if labels.min() < UNKNOWN or labels.max() >= num_classes:
        raise UserError(
            f"labels() of {whose} gives {labels.min()} to {labels.max()}, but there are "
            f"{num_classes} classes; count them from 0 (-1 is for unknown images)"
        )


def _check_image(images: object, specification: str) -> None:
    shape = tuple(getattr(images, "shape", ()))
    form = isinstance(images, torch.Tensor) and images.dtype == torch.uint8
    if not form or len(shape) != 4 or shape[:2] != (1, 3):
        found = f"{getattr(images, 'dtype', type(images).__name__)} {list(shape)}"
        raise UserError(
            f"images() of {specification!r} gives {found} for one image; return a uint8 tensor "
            "[1, 3, H, W]"
        )


def _check_label_map(found: Any, image: torch.Tensor, made: Dataset, specification: str) -> None:
    size = tuple(image.shape[-2:])
    fits = isinstance(found, torch.Tensor) and found.dtype == torch.uint8
    if not fits or tuple(found.shape) != (1, *size):
        kind = f"{found.dtype} {list(found.shape)}" if isinstance(found, torch.Tensor) else found
        raise UserError(
            f"dataset {specification!r}: label_maps() must return uint8 tensors [B, H, W] of the "
            f"images' {size[0]}x{size[1]}, but gave {kind!s:.80}"
        )
    counted = found[found != made.ignore_label]
    if counted.numel() and int(counted.max()) >= made.num_classes:
        raise UserError(
            f"dataset {specification!r}: a label map holds {int(counted.max())}, and classes are 0 "
            f"to {made.num_classes - 1} and ignore_label is {made.ignore_label}"
        )
