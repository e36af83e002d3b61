"""Download a published data set, or check one that is on disk.

    python -m tta.get cifar10-c --data-dir /data
    python -m tta.get verify imagenet-r

The folder is --data-dir, by default $TTA_DATA_DIR. A download that is broken off is continued the
next time. `tta list datasets --long` shows the data sets with their licences.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tta.commands.cli import EXIT_BAD_INPUT, EXIT_INTERRUPTED, Parser, guarded
from tta.datasets import DATASETS
from tta.datasets.getting.download import Download, fetch
from tta.datasets.getting.extract import extract
from tta.datasets.getting.sources import SOURCES, Source
from tta.datasets.getting.verify import problems
from tta.foundation.errors import UserError, did_you_mean
from tta.foundation.text import printable


@guarded
def main(arguments: Sequence[str] | None, prog: str) -> int:
    """Get or verify data sets and return the exit status."""
    options = parser(prog).parse_args(arguments)
    root = _root(options.data_dir)
    if options.names[0] == "verify":
        if len(options.names) == 1:
            raise UserError(f"verify what? write: {prog} verify NAME")
        return max(_verify(name, root) for name in options.names[1:])
    try:
        return max([_get(_source(name), root) for name in options.names])
    except KeyboardInterrupt:
        print("\ninterrupted; run this again to continue")
        return EXIT_INTERRUPTED


def parser(prog: str) -> Parser:
    """Return the parser of this command."""
    made = Parser(prog=prog, description=__doc__)
    made.add_argument("names", nargs="+", metavar="[verify] NAME", help=", ".join(SOURCES))
    made.add_argument("--data-dir", metavar="DIR", help="default: $TTA_DATA_DIR")
    return made


def _root(data_dir: str | None) -> Path:
    folder = data_dir or os.environ.get("TTA_DATA_DIR")
    if not folder:
        raise UserError("where to? pass --data-dir DIR or set TTA_DATA_DIR")
    return Path(folder)


def _source(name: str) -> Source:
    if name not in SOURCES and name in DATASETS:
        facts = getattr(DATASETS[name], "facts", None)
        if facts is None:
            raise UserError(f"dataset {name!r} has nothing to download")
        name = facts.get
    if name not in SOURCES:
        raise UserError(f"unknown dataset {name!r}; {did_you_mean(name, SOURCES)}")
    return SOURCES[name]


def _get(source: Source, root: Path) -> int:
    if source.by_hand:
        raise UserError(source.by_hand.replace("DATA_DIR", str(root)))
    folder = root / source.folder
    for file in source.files:
        _get_file(file, folder)
    return max([_verify(name, root) for name in source.datasets], default=0)


def _get_file(file: Download, folder: Path) -> None:
    if all((folder / name).exists() for name in file.provides):
        print(f"{file.name}: already there")
        return
    path = fetch(file, folder)
    checked = f"checksum of {file.checksum_by}" if file.checksum else "no checksum is published"
    print(f"{file.name}: {path.stat().st_size} bytes, {checked}")
    if file.is_archive:
        extract(path, folder)
        path.unlink()


def _verify(name: str, root: Path) -> int:
    count = 0
    for problem in problems(name, root):
        print(printable(f"{name}: {problem}"))
        count += 1
    print(printable(f"{name}: {f'{count} problems' if count else 'complete'}"))
    return EXIT_BAD_INPUT if count else 0
