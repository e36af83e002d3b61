"""One run from Python, with names or objects for its parts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from tta.config import RunConfig, read_yaml
from tta.datasets import Dataset
from tta.experiment import run
from tta.experiment.given import Given, name_of_data, name_of_method
from tta.foundation.errors import UserError
from tta.foundation.normalisation import CHANNELS
from tta.methods import Method
from tta.reporting.records.runs import Run


@dataclass(frozen=True)
class Result:
    """A run and its record.

    Attributes:
        summary: figures (as fractions), cost and provenance, as ``summary.json`` has them.
        path: the run's folder.
    """

    summary: dict[str, Any]
    path: Path

    @property
    def domains(self) -> pd.DataFrame:
        """A row per visit to a domain: samples, error, accuracy, calibration, ..."""
        return pd.DataFrame(self.summary["domains"])

    @property
    def batches(self) -> pd.DataFrame:
        """A row per batch of the stream, read from the record.

        Raises:
            UserError: the record is gone or damaged.
        """
        return Run.load(self.path).batches()


def evaluate(
    config: RunConfig | str | Path | None = None,
    /,
    *,
    model: nn.Module | None = None,
    split: str | None = None,
    method: str | type[Method] | None = None,
    dataset: str | Dataset | None = None,
    source: str | Dataset | None = None,
    progress: bool = False,
    **options: Any,
) -> Result:
    """Run one configuration to its end, or read the record of it where there is one.

    What is named means the same, and has the same fingerprint, as on the command line and in
    YAML. Of objects the fingerprint holds digests of weights, settings, code and images.

    Example:
        >>> import tempfile, tta
        >>> folder = tempfile.mkdtemp()
        >>> result = tta.evaluate(method="bn", domains=["fog"], num_samples=64, output=folder)
        >>> result.summary["samples"], len(result.batches)
        (64, 1)
        >>> tta.load_runs(folder).loc[0, "method"]
        'bn'

    Args:
        config: options to begin with, or a YAML file of them.
        model: the source model as an object, see :func:`tta.adapt`; ``mean``, ``std`` and
            ``input_size`` are options. It stays as it is.
        split: name of the model's last linear layer, where trying does not find it.
        method: a name, ``my_file.py:MyMethod``, or a class that a file holds.
        dataset: a name as ``--dataset`` takes it, or an object.
        source: source images, likewise.
        progress: show it on standard error.
        options: fields of :class:`tta.RunConfig`; they go over ``config``.

    Raises:
        UserError: bad input of any kind.
    """
    given = Given(
        model=model,
        split=split,
        dataset=None if isinstance(dataset, str) else dataset,
        method=None if isinstance(method, str) else method,
        source=None if isinstance(source, str) else source,
    )
    names = {"method": method, "dataset": dataset, "source": source}
    options.update({name: part for name, part in names.items() if isinstance(part, str)})
    options.update(_names_of(given))
    if model is not None and "input_size" in options:
        options["input_size"] = _height_and_width(options["input_size"])
    summary = run(_config(config, options), progress, given)
    return Result(summary, Path(summary["path"]))


def _names_of(given: Given) -> dict[str, str]:
    """Return what stands for objects among the options."""
    names = {}
    if given.method is not None:
        names["method"] = name_of_method(given.method)
    for name in ("dataset", "source"):
        part = getattr(given, name)
        if part is not None:
            names[name] = name_of_data(part)
    return names


def _height_and_width(input_size: Any) -> Any:
    if not isinstance(input_size, (tuple, list)) or len(input_size) != 3:
        return input_size
    if input_size[0] != CHANNELS:
        raise UserError(
            f"input_size={tuple(input_size)} has {input_size[0]} channels, and images of data sets "
            f"have {CHANNELS}"
        )
    return tuple(input_size[1:])


def _config(config: RunConfig | str | Path | None, options: dict[str, Any]) -> RunConfig:
    if config is None:
        before: dict[str, Any] = {}
    elif isinstance(config, RunConfig):
        before = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    else:
        before = read_yaml(Path(config))
    return RunConfig.from_mapping({**before, **options}, "tta.evaluate")
