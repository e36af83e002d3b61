"""CIFAR-10 and CIFAR-100 as their authors publish them, or as an npz file of some of the images.

Below the data folder lies one of

    cifar-10-batches-bin/   data_batch_1.bin .. data_batch_5.bin, test_batch.bin
    cifar-10-batches-py/    data_batch_1 .. data_batch_5, test_batch
    cifar-100-binary/       train.bin, test.bin
    cifar-100-python/       train, test
    cifar10/, cifar100/     train*.npz, test*.npz: images, labels and, for a part of the images,
                            index: their official numbers
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tta.datasets.arrays import ArrayDataset, checked_integers
from tta.datasets.npz import read_arrays
from tta.foundation.errors import UserError

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Edition:
    """How one of the two data sets is laid out.

    Attributes:
        binary, python, arrays: folders of the three forms.
        train, test: files of the splits, without ``.bin``.
        rows: images per file, by split.
        label_bytes: of a binary record; the last is the label.
        label_key: of a python batch.
    """

    binary: str
    python: str
    arrays: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    rows: dict[str, int]
    label_bytes: int
    label_key: bytes

    def files(self, split: str) -> tuple[str, ...]:
        """Return the names of the files of "train" or "test"."""
        return self.train if split == "train" else self.test


CIFAR10 = Edition(
    binary="cifar-10-batches-bin",
    python="cifar-10-batches-py",
    arrays="cifar10",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test=("test_batch",),
    rows={"train": 10_000, "test": 10_000},
    label_bytes=1,
    label_key=b"labels",
)
CIFAR100 = Edition(
    binary="cifar-100-binary",
    python="cifar-100-python",
    arrays="cifar100",
    train=("train",),
    test=("test",),
    rows={"train": 50_000, "test": 10_000},
    label_bytes=2,
    label_key=b"fine_labels",
)


@dataclass(frozen=True)
class CifarImages:
    """One split in memory.

    Attributes:
        images: uint8 ``[N, 32, 32, 3]``.
        labels: ``[N]``.
        index: official number of each image in its split ``[N]``.
    """

    images: np.ndarray
    labels: np.ndarray
    index: np.ndarray


def read_split(
    edition: Edition, split: str, data_dir: Path, fault: Callable[[str], UserError]
) -> CifarImages:
    """Return a split in whichever form lies below ``data_dir``.

    Args:
        edition: CIFAR10 or CIFAR100.
        split: "train" or "test".
        data_dir: the data folder.
        fault: makes an error of a description of what is wrong.

    Raises:
        UserError: no form is there, or a file is missing or damaged.
    """
    for folder, suffix, parse in (
        (edition.binary, ".bin", _parse_binary),
        (edition.python, "", _parse_python),
    ):
        if (data_dir / folder).is_dir():
            files = [data_dir / folder / f"{name}{suffix}" for name in edition.files(split)]
            batches = [_read_batch(file, edition, split, parse, fault) for file in files]
            images, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
            return CifarImages(images, labels, np.arange(len(labels)))
    found = sorted((data_dir / edition.arrays).glob(f"{split}*.npz"))
    if len(found) == 1:
        return _read_npz(found[0])
    amount = "several files" if found else "no file"
    raise fault(
        f"{str(data_dir)!r} has no folder {edition.binary!r} or {edition.python!r}, and {amount} "
        f"{edition.arrays}/{split}*.npz"
    )


def _read_batch(
    file: Path,
    edition: Edition,
    split: str,
    parse: Callable[[bytes, Edition], tuple[np.ndarray, np.ndarray]],
    fault: Callable[[str], UserError],
) -> tuple[np.ndarray, np.ndarray]:
    try:
        planes, labels = parse(file.read_bytes(), edition)
    except FileNotFoundError as error:
        raise fault(f"no file {str(file)!r}") from error
    except OSError as error:
        raise fault(f"{str(file)!r} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, EOFError, TypeError, pickle.UnpicklingError) as error:
        raise fault(f"{str(file)!r} is damaged ({error})") from error
    rows = edition.rows[split]
    if planes.shape != (rows, PIXELS) or planes.dtype != np.uint8 or labels.shape != (rows,):
        raise fault(
            f"{str(file)!r} holds {len(planes)} images and {len(labels)} labels where {rows} "
            "are expected"
        )
    images = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels.astype(np.int64)


def _parse_binary(content: bytes, edition: Edition) -> tuple[np.ndarray, np.ndarray]:
    records = np.frombuffer(content, np.uint8).reshape(-1, edition.label_bytes + PIXELS)
    return records[:, edition.label_bytes :], records[:, edition.label_bytes - 1]


def _parse_python(content: bytes, edition: Edition) -> tuple[np.ndarray, np.ndarray]:
    batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    return np.asarray(batch[b"data"]), np.asarray(batch[edition.label_key])


class _ArrayUnpickler(pickle.Unpickler):
    """Reads arrays and plain values; a pickle that asks for anything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module.endswith("core.multiarray"):
            return np.empty(0).__reduce__()[0]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch needs")


def _read_npz(path: Path) -> CifarImages:
    arrays = read_arrays(path, ("images",), ("index",))
    data = ArrayDataset(str(path))
    if len(data.domains) > 1:
        raise UserError(f"{str(path)!r} holds {len(data.domains)} domains where one is expected")
    (domain,) = data.domains
    labels = data.labels(domain)
    index = np.arange(len(labels))
    if "index" in arrays:
        index = checked_integers(arrays, "index", len(labels), str(path))
    return CifarImages(arrays["images"], labels, index)
