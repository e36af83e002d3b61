"""What is missing or damaged on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tta.datasets import open_dataset
from tta.errors import UserError


def problems(specification: str, data_dir: Path) -> Iterator[str]:
    """Yield a description of every file of a data set that is missing or damaged.

    Arrays are checked by type and shape, image files by their last bytes; what came in an archive
    has been compared with its published checksum before it was unpacked.
    """
    try:
        dataset = open_dataset(specification, data_dir)
    except UserError as error:
        yield str(error)
        return
    for fault in dataset.faults(dataset.domains, dataset.severities):
        yield str(fault)
