"""The files of one run. All but the growing tables are written aside and renamed."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from tta.foundation.errors import UserError
from tta.foundation.files import write_atomically
from tta.foundation.lock import FolderLock
from tta.foundation.yaml_files import dump_yaml
from tta.reporting.records.done import DONE_FILE, done_text, find_damage
from tta.reporting.records.growing import GrowingTable, writing

SCHEMA_VERSION = 1
SAMPLES_FILE = "samples.npz"
"""Of every sample in stream order: correct, top-1 confidence, number of the domain visit."""
MATRICES_FILE = "matrices.npz"
"""Of every image whose label is a map, in place of these: see :mod:`tta.tasks.segmentation`."""
STRIPS_FILE = "strips.npz"
"""Of some of these images, for pictures: the image, its label map and what was predicted."""
CLASSES_FILE = "classes.csv"
"""Of each class at every visit to a domain, where labels are maps: intersection over union."""


def run_path(root: str, parts: list[str], fingerprint: str) -> Path:
    """Return ``root/<dataset>/<scenario>/<backbone>/<method>/<fingerprint>``."""
    return Path(root, *(_file_name(part) for part in parts), fingerprint)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text).strip("._") or "_"


class RunDirectory:
    """One run's folder, locked against other writers until it is closed.

    Args:
        path: the folder; made if it is missing.

    Raises:
        UserError: the folder cannot be made or written, or another process writes to it.
    """

    GROWING = ("batches.csv", "timing.csv")
    WHOLE = (
        "summary.json",
        "domains.csv",
        SAMPLES_FILE,
        MATRICES_FILE,
        STRIPS_FILE,
        CLASSES_FILE,
    )
    CONFIG = "config.yaml"
    STATE = ("state.pt", "prepared.pt")
    """Of an unfinished run: its state between two batches, and at the start of the stream."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tables = {name: GrowingTable(path / name) for name in self.GROWING}
        self._digests: dict[str, str] = {}
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
        with writing(self.path):
            for name in (DONE_FILE, *self.STATE, *self.WHOLE):
                (self.path / name).unlink(missing_ok=True)
            for table in self.tables.values():
                table.start_over()
        self.append("batches.csv", "")

    def has_state(self) -> bool:
        """Return whether an unfinished run can go on from here."""
        return (self.path / "state.pt").is_file()

    def sync(self) -> dict[str, dict[str, Any]]:
        """Bring the growing tables to the disk; return what :meth:`check_tables` takes."""
        return {name: table.sync() for name, table in self.tables.items()}

    def check_tables(self, saved: dict[str, dict[str, Any]]) -> None:
        """Refuse growing tables whose rows are not those of the run when it was saved.

        Raises:
            UserError: rows are lost or altered, or a table is a link to some other file.
        """
        for name, table in self.tables.items():
            table.check(saved[name])

    def cut_back(self) -> None:
        """Remove what the growing tables hold beyond what was checked."""
        for table in self.tables.values():
            table.cut_back()

    @staticmethod
    def is_done(path: Path) -> bool:
        """Return whether ``path`` holds a finished run; :meth:`damage` says whether it is whole."""
        return (path / DONE_FILE).is_file() and (path / "summary.json").is_file()

    @classmethod
    def is_started(cls, path: Path) -> bool:
        """Return whether ``path`` holds a finished run, or one with a checkpoint."""
        return cls.is_done(path) or (path / cls.STATE[0]).is_file()

    @classmethod
    def damage(cls, path: Path, names: tuple[str, ...] | None = None) -> str:
        """Return which file of a finished run is not as the run left it; empty where all are.

        Args:
            path: the run directory; one that is not finished has no such damage.
            names: files to look at; None for all.
        """
        return find_damage(path, cls.files() if names is None else names)

    @classmethod
    def files(cls) -> tuple[str, ...]:
        """Return the names of the files that a finished run may have."""
        return (cls.CONFIG, *cls.WHOLE, *cls.GROWING)

    @classmethod
    def read_finished(cls, path: Path) -> dict[str, Any]:
        """Return the summary of a finished run whose files are as it left them.

        Raises:
            UserError: one is not, or the summary is of another schema.
        """
        damage = cls.damage(path)
        if damage:
            raise UserError(
                f"{damage}; this run had finished, but its record can no longer be trusted: pass "
                "--force to run it again"
            )
        return cls.read_summary(path)

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
        self.write(self.CONFIG, dump_yaml(config))

    def append(self, name: str, rows: str) -> None:
        """Append lines to a growing table."""
        self.tables[name].append(rows)

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file whole."""
        data = content.encode("utf-8") if isinstance(content, str) else content
        with writing(self.path / name):
            write_atomically(self.path / name, data)
        self._digests[name] = hashlib.sha256(data).hexdigest()

    def write_arrays(self, name: str, **arrays: np.ndarray) -> None:
        """Write arrays whole, compressed; equal arrays give equal bytes."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        self.write(name, buffer.getvalue())

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write ``summary.json``."""
        self.write("summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")

    def mark_done(self) -> None:
        """Mark the run as finished, with digests of its files; remove what it would go on from."""
        tables = {name: table.digest() for name, table in self.tables.items()}
        self.write(DONE_FILE, done_text(self._digests | tables))
        for name in self.STATE:
            (self.path / name).unlink(missing_ok=True)
            (self.path / f".{name}.tmp").unlink(missing_ok=True)
