"""``arrays:PATH.npz``: a stream of one's own, as arrays in one file."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from tta.datasets.base import NATURAL
from tta.datasets.images import take_rows
from tta.datasets.named_classes import NamedClasses
from tta.datasets.npz import array_names, read_arrays
from tta.foundation.errors import UserError
from tta.tasks.classes.matching import DataClasses
from tta.tasks.open_set import UNKNOWN

_OPTIONAL = ("domains", "names", "classes")
MOST_CLASSES = 1_000_000
"""More than any model has outputs."""


class ArrayDataset(NamedClasses):
    """Images and labels of an npz file.

    Args:
        path: a file with ``images`` (uint8 ``[N, H, W, 3]``) and ``labels`` (integers ``[N]``);
            for several domains also ``domains`` (integers ``[N]``) and ``names``, which they
            count (text ``[D]``). Only domains that have images are kept. ``classes`` (text ``[C]``)
            may name the classes that labels count; without it labels are numbers of the source
            model's outputs. Label -1 is that of an image of no class.

    Raises:
        UserError: a missing file or key, another shape or type, or unequal lengths.
    """

    argument = "path"
    sizing = "own"

    def __init__(self, path: str) -> None:
        arrays = read_arrays(Path(path), ("images", "labels"), _OPTIONAL)
        self._left_out = _left_out(Path(path), arrays)
        self.name = f"arrays:{Path(path).name}"
        self._images = _checked_images(arrays, path)
        self._labels = checked_integers(arrays, "labels", len(self._images), path, UNKNOWN)
        self._domain = np.zeros(len(self._images), np.int64)
        self.domains = (Path(path).stem,)
        if "domains" in arrays:
            numbers = checked_integers(arrays, "domains", len(self._images), path)
            occurring, self._domain = np.unique(numbers, return_inverse=True)
            self.domains = _domain_names(arrays, occurring, path)
        in_order = np.argsort(self._domain, kind="stable")
        ends = np.cumsum(np.bincount(self._domain))
        self._rows = np.split(in_order, ends[:-1])
        self.num_classes = int(self._labels.max()) + 1
        if self.num_classes > MOST_CLASSES:
            raise UserError(
                f"'labels' in {path!r} count up to {self.num_classes - 1}, and no model has so "
                "many outputs; number the classes from 0"
            )
        self._named = "classes" in arrays
        self.classes = _class_names(arrays, self.num_classes, path)
        self.empty_classes = frozenset(self.classes) - {
            self.classes[label] for label in np.unique(self._labels) if label != UNKNOWN
        }

    def data_classes(self) -> DataClasses:
        return DataClasses(self.classes, self.empty_classes, True, self._named, "classes")

    def number_classes(self, names: Sequence[str], outputs: Sequence[int] | None) -> None:
        number = {name: k for k, name in enumerate(names)}
        renumbered = [number.get(name, UNKNOWN) for name in self.classes]
        self._labels = np.array([*renumbered, UNKNOWN])[self._labels]  # -1 is the last
        super().number_classes(names, outputs)
        self.__dict__.pop("_digest", None)

    def labels(self, domain: str, severity: int = NATURAL) -> np.ndarray:
        return self._labels[self._rows[self.domains.index(domain)]]

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        rows = self._rows[self.domains.index(domain)][indices]
        return take_rows(self._images, rows)

    def stored_order(self) -> tuple[np.ndarray, np.ndarray]:
        index = np.empty(len(self._domain), np.int64)
        for rows in self._rows:
            index[rows] = np.arange(len(rows))
        return self._domain, index

    def understood(self) -> dict[str, str]:
        said = super().understood()
        if not self._left_out:
            return said
        return {**said, "files": f"left out: arrays {', '.join(map(repr, self._left_out))}"}

    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        named = "" if self.class_subset is None else f"{self.class_subset}"
        return array_digest(named, self._images, self._labels, self._domain)


def _left_out(path: Path, read: Collection[str]) -> list[str]:
    """Return the names of arrays that are not read.

    Raises:
        UserError: one may be meant to be an optional array that is missing.
    """
    others = [name for name in array_names(path) if name not in read]
    for key in _OPTIONAL:
        near = get_close_matches(key, others, n=1, cutoff=0.7)
        if near and key not in read:
            raise UserError(
                f"{str(path)!r} has an array {near[0]!r} but no {key!r}; save it under that key, "
                "or under a name that is not so much like it"
            )
    return others


def array_digest(name: str, *arrays: np.ndarray) -> str:
    """Return a SHA-256 of a name and of the types, shapes and contents of arrays."""
    sha = hashlib.sha256(name.encode(errors="surrogatepass"))
    for array in arrays:
        sha.update(f"{array.dtype.str}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def _checked_images(arrays: dict[str, np.ndarray], path: str) -> np.ndarray:
    images = arrays["images"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not images.size:
        raise UserError(
            f"'images' in {path!r} must be uint8 of shape [N, H, W, 3] with N > 0 and H, W > 0, "
            f"but is {images.dtype} of shape {list(images.shape)}; convert it before saving"
        )
    return images


def checked_integers(
    arrays: dict[str, np.ndarray], key: str, length: int, path: str, least: int = 0
) -> np.ndarray:
    """Return array ``key`` as int64 ``[length]``.

    Raises:
        UserError: it is of another type or length, below ``least``, or beyond 64 bits.
    """
    values = arrays[key]
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise UserError(
            f"{key!r} in {path!r} must be integers of shape [N], but is {values.dtype} of shape "
            f"{list(values.shape)}"
        )
    if len(values) != length:
        raise UserError(
            f"{path!r} holds {length} images but {len(values)} {key}; they must be equally many"
        )
    lowest, highest = int(values.min()), int(values.max())
    if lowest < least or highest > np.iinfo(np.int64).max:
        wrong = lowest if lowest < least else highest
        bound = f"below {least} (-1 is for unknown images)" if least else "negative"
        raise UserError(
            f"{key!r} in {path!r} must not be {bound} nor above 2**63 - 1, but holds {wrong}"
        )
    return values.astype(np.int64)


def _domain_names(arrays: dict[str, np.ndarray], numbers: np.ndarray, path: str) -> tuple[str, ...]:
    """Return the names of the domains with the given numbers, which are in ascending order."""
    if "names" not in arrays:
        return tuple(f"domain{number}" for number in numbers)
    stored = arrays["names"]
    if stored.ndim != 1 or stored.dtype.kind not in "USiu":
        raise UserError(
            f"'names' in {path!r} must be text of shape [D], but is {stored.dtype} of shape "
            f"{list(stored.shape)}"
        )
    names = _texts(stored, "names", path)
    if len(names) <= numbers[-1] or len(set(names)) != len(names):
        raise UserError(
            f"'names' in {path!r} must give each domain a name of its own, and domains count up "
            f"to {numbers[-1]}, but it holds {len(names)}, {len(set(names))} of them different"
        )
    occurring = tuple(names[number] for number in numbers)
    if "" in occurring:
        raise UserError(f"'names' in {path!r} must give each domain a name, but holds an empty one")
    return occurring


def _texts(stored: np.ndarray, key: str, path: str) -> tuple[str, ...]:
    try:
        names = tuple(map(_text, stored))
        "".join(names).encode()
    except (ValueError, SystemError) as error:  # NumPy keeps what is no character
        raise UserError(
            f"{key!r} in {path!r} hold what no text does ({_reason(error)}); write them anew"
        ) from error
    return names


def _text(name: np.generic) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _reason(error: ValueError | SystemError) -> str:
    return "half a character" if isinstance(error, UnicodeError) else str(error)


def _class_names(arrays: dict[str, np.ndarray], count: int, path: str) -> tuple[str, ...]:
    """Return the names of classes in label order: numbers, where the file gives none."""
    if "classes" not in arrays:
        return tuple(map(str, range(count)))
    names = arrays["classes"]
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise UserError(
            f"'classes' in {path!r} must be text of shape [C], the names that labels count, but is "
            f"{names.dtype} of shape {list(names.shape)}"
        )
    names = _texts(names, "classes", path)
    if len(names) < count or len(set(names)) < len(names):
        raise UserError(
            f"'classes' in {path!r} must give each of the {count} classes a name of its own, but "
            f"holds {len(names)}, {len(set(names))} distinct"
        )
    return names
