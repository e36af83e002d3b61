"""``arrays:PATH.npz``: a stream of one's own, as arrays in one file."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path

import numpy as np
from torch import Tensor

from tta.datasets.base import NATURAL, Dataset
from tta.datasets.images import take_rows
from tta.errors import UserError


class ArrayDataset(Dataset):
    """Images and labels of an npz file.

    Args:
        path: a file with ``images`` (uint8 ``[N, H, W, 3]``) and ``labels`` (integers ``[N]``);
            for several domains also ``domains`` (integers ``[N]``) and ``names`` (their names).

    Raises:
        UserError: a missing file or key, another shape or type, or unequal lengths.
    """

    argument = "path"
    sizing = "own"

    def __init__(self, path: str) -> None:
        arrays = read_arrays(Path(path))
        self.name = f"arrays:{Path(path).name}"
        self._images = _checked_images(arrays, path)
        self._labels = checked_integers(arrays, "labels", len(self._images), path)
        self._domain = np.zeros(len(self._images), np.int64)
        self.domains = (Path(path).stem,)
        if "domains" in arrays:
            self._domain = checked_integers(arrays, "domains", len(self._images), path)
            self.domains = _domain_names(arrays, self._domain, path)
        self._rows = [np.flatnonzero(self._domain == d) for d in range(len(self.domains))]
        self.num_classes = int(self._labels.max()) + 1

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

    def digest(self) -> str:
        return array_digest("", self._images, self._labels, self._domain)


def array_digest(name: str, *arrays: np.ndarray) -> str:
    """Return a SHA-256 of a name and of what arrays hold."""
    sha = hashlib.sha256(name.encode())
    for array in arrays:
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file by name.

    Raises:
        UserError: the file is missing or damaged.
    """
    if not path.is_file():
        raise UserError(f"no file {str(path)!r}; arrays:PATH names an .npz file that exists")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{str(path)!r} cannot be read as an .npz file of plain arrays ({error}); "
            "write it again with numpy.savez"
        ) from error


def _checked_images(arrays: dict[str, np.ndarray], path: str) -> np.ndarray:
    images = _required(arrays, "images", path)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not len(images):
        raise UserError(
            f"'images' in {path!r} must be uint8 of shape [N, H, W, 3] with N > 0, but is "
            f"{images.dtype} of shape {list(images.shape)}; convert it before saving"
        )
    return images


def checked_integers(arrays: dict[str, np.ndarray], key: str, length: int, path: str) -> np.ndarray:
    """Return array ``key`` as int64 ``[length]``.

    Raises:
        UserError: it is missing, of another type or length, or negative.
    """
    values = _required(arrays, key, path)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise UserError(
            f"{key!r} in {path!r} must be integers of shape [N], but is {values.dtype} of shape "
            f"{list(values.shape)}"
        )
    if len(values) != length:
        raise UserError(
            f"{path!r} holds {length} images but {len(values)} {key}; they must be equally many"
        )
    if values.min() < 0:
        raise UserError(f"{key!r} in {path!r} must not be negative, but holds {values.min()}")
    return values.astype(np.int64)


def _required(arrays: dict[str, np.ndarray], key: str, path: str) -> np.ndarray:
    if key not in arrays:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise UserError(f"{path!r} has no array {key!r}, only {found}; save it under that key")
    return arrays[key]


def _domain_names(arrays: dict[str, np.ndarray], domain: np.ndarray, path: str) -> tuple[str, ...]:
    count = int(domain.max()) + 1
    if "names" not in arrays:
        return tuple(f"domain{number}" for number in range(count))
    names = tuple(str(name) for name in arrays["names"])
    if len(names) < count or len(set(names)) != len(names):
        raise UserError(
            f"'names' in {path!r} must give each of the {count} domains a name of its own, but "
            f"holds {len(names)}"
        )
    return names[:count]
