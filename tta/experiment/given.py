"""Parts of a run that a program hands over as objects, in place of names in its options."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tta.config import RunConfig
from tta.datasets.benchmark import check_benchmark
from tta.foundation.errors import UserError
from tta.methods import METHODS
from tta.methods.flaws import flaw_of_method

if TYPE_CHECKING:
    from torch import nn

    from tta.datasets import Dataset
    from tta.methods import Method


@dataclass(frozen=True)
class Given:
    """What is handed over; None where the options name it.

    Attributes:
        model: the source model, see :func:`tta.backbones.wrap_model`.
        split: name of its last layer, or None.
        dataset: the test data.
        method: the class of the method.
        source: source images.
    """

    model: nn.Module | None = None
    split: str | None = None
    dataset: Dataset | None = None
    method: type[Method] | None = None
    source: Dataset | None = None

    @property
    def names(self) -> list[str]:
        """What is handed over, by name."""
        parts = ("model", "dataset", "method", "source")
        return [name for name in parts if getattr(self, name) is not None]


NOTHING = Given()


def name_of_method(method: type[Method]) -> str:
    """Return the name by which options ask for a method class.

    Raises:
        UserError: it is no whole method, or no file holds it.
    """
    reason = flaw_of_method(method)
    if reason:
        raise UserError(f"method {getattr(method, '__name__', method)!r} {reason}")
    if METHODS.location(method.name) == f"{method.__module__}:{method.__qualname__}":
        return method.name
    try:
        file = Path(inspect.getfile(method))
    except (TypeError, OSError):
        raise UserError(
            f"method class {method.__qualname__} is in no file, and a run's record names the code "
            "it was made with: save it as my_file.py, and import it from there"
        ) from None
    return f"{file}:{method.__qualname__}"


def name_of_data(dataset: Dataset) -> str:
    """Return the name by which options ask for a data set, which may be none of theirs.

    Raises:
        UserError: it is no data set, or has defaults that nothing reads.
    """
    from tta.datasets.base import Dataset

    if not isinstance(dataset, Dataset):
        raise UserError(
            f"a tta.datasets.Dataset is expected, but got a {type(dataset).__name__}; subclass it, "
            "or save the images as arrays:PATH.npz"
        )
    check_benchmark(dataset, f"data set {dataset.name!r}")
    return dataset.name


def check_given(config: RunConfig, given: Given) -> None:
    """Refuse options that say again, or otherwise, what is handed over.

    Raises:
        UserError: see above.
    """
    named = {name: getattr(config, name) for name in ("backbone", "weights")}
    if given.model is not None and any(value is not None for value in named.values()):
        shown = " and ".join(name for name, value in named.items() if value is not None)
        raise UserError(f"a model is given as an object: leave {shown} out")
    if given.split is not None and given.model is None:
        raise UserError("split names a layer of a model that is given as an object: pass one")
