"""The files of one run. All but the growing tables are written aside and renamed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tta.errors import UserError
from tta.files import write_atomically
from tta.lock import FolderLock
from tta.yaml_files import dump_yaml

SCHEMA_VERSION = 1
SAMPLES_FILE = "samples.npz"
"""Of every sample in stream order: correct, top-1 confidence, number of the domain visit."""


def run_path(root: str, parts: list[str], fingerprint: str) -> Path:
    """Return ``root/<dataset>/<scenario>/<backbone>/<method>/<fingerprint>``."""
    return Path(root, *(_file_name(part) for part in parts), fingerprint)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text).strip("._") or "_"


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {str(path)!r} ({error.strerror}); what was written before is kept: "
            "make room or choose another --output, then pass --resume to go on"
        ) from error


class RunDirectory:
    """One run's folder, locked against other writers until it is closed.

    Args:
        path: the folder; made if it is missing.

    Raises:
        UserError: the folder cannot be made or written, or another process writes to it.
    """

    GROWING = ("batches.csv", "timing.csv")
    WHOLE = ("summary.json", "domains.csv", SAMPLES_FILE)
    STATE = ("state.pt", "prepared.pt")
    """Of an unfinished run: its state between two batches, and at the start of the stream."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(path)
        except OSError as error:
            raise UserError(
                f"cannot write to {str(path)!r} ({error.strerror}); choose another --output"
            ) from error

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def start_over(self) -> None:
        """Remove the records of an earlier run, first what would let it go on."""
        with _writing(self.path):
            for name in ("done", *self.STATE, *self.WHOLE, *self.GROWING):
                (self.path / name).unlink(missing_ok=True)
            (self.path / "batches.csv").touch()

    def has_state(self) -> bool:
        """Return whether an unfinished run can go on from here."""
        return (self.path / "state.pt").is_file()

    def sync(self) -> dict[str, int]:
        """Bring the growing tables to the disk and return their sizes in bytes."""
        sizes = {}
        for name in self.GROWING:
            with _writing(self.path / name), (self.path / name).open("ab") as file:
                os.fsync(file.fileno())
                sizes[name] = file.tell()
        return sizes

    def check_sizes(self, sizes: dict[str, int]) -> None:
        """Refuse growing tables that are shorter than ``sizes``: rows of theirs are lost."""
        for name, size in sizes.items():
            path = self.path / name
            if not path.is_file() or path.stat().st_size < size:
                raise UserError(
                    f"{str(path)!r} has lost rows that this run had written; put the file back, "
                    "or pass --force to start over"
                )

    def cut_back(self, sizes: dict[str, int]) -> None:
        """Remove what the growing tables hold beyond ``sizes``."""
        for name, size in sizes.items():
            with _writing(self.path / name):
                os.truncate(self.path / name, size)

    @staticmethod
    def is_done(path: Path) -> bool:
        """Return whether ``path`` holds a finished run."""
        return (path / "done").is_file() and (path / "summary.json").is_file()

    @staticmethod
    def read_summary(path: Path) -> dict[str, Any]:
        """Return the summary of a run.

        Raises:
            UserError: there is none, or it is damaged or of another schema.
        """
        file = path / "summary.json"
        try:
            summary = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(
                f"{str(path)!r} is no run directory: it has no readable summary.json; "
                "name a folder that tta.run has written"
            ) from error
        except ValueError as error:
            raise UserError(
                f"{str(file)!r} is damaged ({error}); run again with --force"
            ) from error
        schema = summary.get("schema") if isinstance(summary, dict) else None
        if schema != SCHEMA_VERSION:
            newer = isinstance(schema, int) and schema > SCHEMA_VERSION
            remedy = "update this one" if newer else "run again with --force"
            raise UserError(
                f"{str(file)!r} is not a summary of schema {SCHEMA_VERSION} (but {schema!r}); it "
                f"was written by another version of this package: {remedy}"
            )
        return summary

    def write_config(self, config: dict[str, Any]) -> None:
        """Write ``config.yaml``, which runs again with ``--config``."""
        self.write("config.yaml", dump_yaml(config))

    def append(self, name: str, rows: str) -> None:
        """Append lines to a growing table."""
        path = self.path / name
        with _writing(path), path.open("a", encoding="utf-8") as file:
            file.write(rows)

    def write(self, name: str, text: str) -> None:
        """Write a file whole."""
        with _writing(self.path / name):
            write_atomically(self.path / name, text)

    def write_arrays(self, name: str, **arrays: np.ndarray) -> None:
        """Write arrays whole, compressed; equal arrays give equal bytes."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        with _writing(self.path / name):
            write_atomically(self.path / name, buffer.getvalue())

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write ``summary.json``."""
        self.write("summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")

    def mark_done(self) -> None:
        """Mark the run as finished, and remove what it would have gone on from."""
        self.write("done", "")
        for name in self.STATE:
            (self.path / name).unlink(missing_ok=True)
            (self.path / f".{name}.tmp").unlink(missing_ok=True)
