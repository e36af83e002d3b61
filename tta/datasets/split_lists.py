"""Lists of test images with labels and names of classes: CoOp's JSON, and FGVC-Aircraft's text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tta.datasets.packed_names import PackedNames


class WrongListError(ValueError):
    """A list that is none; the message says what is wrong, and with which file."""


class Entry(NamedTuple):
    """A line of a list: a file, its label, and what its class is called."""

    file: str
    label: int
    name: str


@dataclass(frozen=True)
class Listed:
    """Test images.

    Attributes:
        classes: names in label order.
        files: of the images, below their folder.
        labels: ``[N]``, int64.
    """

    classes: tuple[str, ...]
    files: PackedNames
    labels: np.ndarray


def read_split(file: Path) -> Listed:
    """Return the test images of a ``split_zhou_*.json``; classes are those of all its parts.

    Raises:
        OSError: it cannot be read.
        WrongListError: it is none.
    """
    try:
        parts = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise WrongListError(f"{str(file)!r} is no JSON ({error})") from error
    wanted = ("train", "val", "test")
    if not isinstance(parts, dict) or not all(isinstance(parts.get(key), list) for key in wanted):
        raise WrongListError(f"{str(file)!r} must hold the lists {', '.join(wanted)}")
    entries = {key: [_entry(item, file) for item in parts[key]] for key in wanted}
    classes = _classes((entry for key in wanted for entry in entries[key]), file)
    return _listed(classes, entries["test"])


def read_variants(file: Path) -> Listed:
    """Return the images of FGVC-Aircraft's list of variants, numbered by ``variants.txt`` beside.

    Raises:
        OSError: one of both cannot be read.
        WrongListError: it is none.
    """
    classes = tuple(_lines(file.with_name("variants.txt")))
    numbers = {name: label for label, name in enumerate(classes)}
    entries = []
    for line in _lines(file):
        stem, _, name = line.partition(" ")
        if name not in numbers:
            raise WrongListError(
                f"{str(file)!r} has a line {line!r} where the number of an image and a variant "
                "of variants.txt are expected"
            )
        entries.append(_entry([f"{stem}.jpg", numbers[name], name], file))
    return _listed(classes, entries)


def _lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise WrongListError(f"{str(file)!r} is no text ({error})") from error
    return [line.strip() for line in lines if line.strip()]


def _entry(item: Any, file: Path) -> Entry:
    if isinstance(item, list) and [type(part) for part in item] == [str, int, str]:
        entry = Entry(*item)
        inside = entry.file[:1] not in ("", "/") and ".." not in entry.file.split("/")
        if inside and entry.label >= 0 and entry.name.strip():
            return entry
    raise WrongListError(
        f"{str(file)!r} has an entry {item!r} where a file, its label and the name of its class "
        "are expected"
    )


def _classes(entries: Iterable[Entry], file: Path) -> tuple[str, ...]:
    names: dict[int, str] = {}
    for entry in entries:
        name = names.setdefault(entry.label, entry.name)
        if name != entry.name:
            raise WrongListError(
                f"{str(file)!r} calls class {entry.label} both {name!r} and {entry.name!r}"
            )
    absent = sorted(set(range(len(names))) - names.keys())
    if absent:
        raise WrongListError(f"{str(file)!r} has {len(names)} classes, but no class {absent[0]}")
    return tuple(names[label] for label in range(len(names)))


def _listed(classes: tuple[str, ...], test: list[Entry]) -> Listed:
    labels = np.array([entry.label for entry in test], np.int64)
    return Listed(classes, PackedNames(entry.file for entry in test), labels)
