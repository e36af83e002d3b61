"""What is missing or damaged on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tta.datasets import DATASETS, open_dataset
from tta.datasets.getting.download import file_digest
from tta.datasets.getting.sources import SOURCES, Source
from tta.foundation.errors import UserError


def problems(specification: str, data_dir: Path) -> Iterator[str]:
    """Yield a description of every file of a data set that is missing or damaged.

    ``specification`` may also name files that belong to several data sets ("frost"). Arrays are
    checked by type and shape, image files by their last bytes; what came in an archive has been
    compared with its published checksum before it was unpacked.
    """
    if specification in SOURCES and specification not in DATASETS:
        yield from _file_problems(SOURCES[specification], data_dir)
        return
    try:
        dataset = open_dataset(specification, data_dir)
    except UserError as error:
        yield str(error)
        return
    for fault in dataset.faults(dataset.domains, dataset.severities):
        yield str(fault)


def _file_problems(source: Source, data_dir: Path) -> Iterator[str]:
    for download in source.files:
        file = data_dir / source.folder / download.name
        algorithm, _, expected = download.checksum.partition(":")
        if not file.is_file():
            yield f"no file {str(file)!r}"
        elif expected and file_digest(file, algorithm) != expected:
            yield f"{str(file)!r} differs from the published file"
