"""Class folders below a folder: which files are images of theirs, and what is left out, and why."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from tta.datasets.formats import image_suffixes
from tta.foundation.errors import UserError


class Reason(Enum):
    """Why a file is left out, in words."""

    HIDDEN = "hidden"
    SUFFIX = "of other suffixes"
    DEEP = "in folders below the class folders"
    SHALLOW = "above the class folders"
    SPECIAL = "that are no regular files"


_HIDDEN = ("__MACOSX", "@eaDir")
"""Folders that systems leave beside the user's, under names without a dot."""
_SIDECARS = frozenset(
    ".txt .md .rst .html .json .jsonl .xml .csv .tsv .yaml .yml .ini .cfg .toml .log .db .py .sh "
    ".md5 .sha256".split()
)
"""Suffixes of what lies beside images and is none."""
Place = tuple[str, ...]
"""Names of the folders on the way from the root to a class folder."""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is passed over for its name."""
    return name.startswith(".") or name in _HIDDEN


def is_image_name(name: str) -> bool:
    """Return whether a file has the suffix of an image."""
    return os.path.splitext(name)[1].lower() in image_suffixes()


@dataclass
class Scan:
    """What lies below a folder.

    Attributes:
        root: the folder.
        images: names of the image files, sorted, by class folder; empty class folders too.
        left_out: numbers of files by reason.
        doubtful: numbers of files left out that may be images, by the folder, at most as deep as
            the class folders, in which they lie.
        beside: folders with files that were left out and are not hidden.
        examples: a file for each reason.
    """

    root: Path
    images: dict[Place, list[str]] = field(default_factory=dict)
    left_out: Counter[Reason] = field(default_factory=Counter)
    doubtful: Counter[Place] = field(default_factory=Counter)
    beside: set[Place] = field(default_factory=set)
    examples: dict[Reason, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of images."""
        return sum(map(len, self.images.values()))

    def leave_out(self, reason: Reason, place: Place, file: str) -> None:
        """Note a file, given by its path below the root, that is no image of the layout."""
        self.left_out[reason] += 1
        self.examples.setdefault(reason, file)
        if reason is Reason.HIDDEN:
            return
        self.beside.add(place)
        if os.path.splitext(file)[1].lower() not in _SIDECARS:
            self.doubtful[place] += 1

    def words(self) -> str:
        """Return what was left out, by reason, or nothing."""
        parts = [
            f"{self.left_out[reason]} {reason.value} ({self.examples[reason]!r})"
            for reason in Reason
            if self.left_out[reason]
        ]
        return ", ".join(parts)


def scan(root: Path, depth: int) -> Scan:
    """List the class folders that lie ``depth`` folders below a folder.

    Raises:
        UserError: a folder cannot be read, or its name cannot be written down.
    """
    found = Scan(root)
    _walk(found, (), depth)
    return found


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what a folder holds, sorted by name.

    Raises:
        OSError: it is missing or cannot be read.
    """
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


def _walk(found: Scan, place: Place, depth: int) -> None:
    here = len(place) == depth
    names = found.images.setdefault(place, []) if here else []
    for entry in _entries_below(found.root, place):
        if is_hidden(entry.name) or here and _is_folder(entry):
            _leave_out_all(found, place, entry)
        elif _is_folder(entry):
            _check_name(entry)
            _walk(found, (*place, entry.name), depth)
        elif reason := _reason(entry, here):
            found.leave_out(reason, place, "/".join((*place, entry.name)))
        else:
            names.append(entry.name)


def _reason(entry: os.DirEntry[str], here: bool) -> Reason | None:
    """Return why a file is left out, or None for an image of a class folder."""
    if _is_special(entry):
        return Reason.SPECIAL
    if not is_image_name(entry.name):
        return Reason.SUFFIX
    return None if here else Reason.SHALLOW


def _leave_out_all(found: Scan, place: Place, entry: os.DirEntry[str]) -> None:
    """Leave out a hidden file, or every file of a folder and below."""
    for file in _files_in(entry):
        if any(map(is_hidden, file.split("/"))):
            reason = Reason.HIDDEN
        else:
            reason = Reason.DEEP if is_image_name(file) else Reason.SUFFIX
        found.leave_out(reason, place, "/".join((*place, file)))


def _entries_below(root: Path, place: Place) -> list[os.DirEntry[str]]:
    folder = root.joinpath(*place)
    try:
        return entries(folder)
    except OSError as error:
        raise UserError(
            f"folder {str(folder)!r} cannot be read ({error.strerror}); make it readable, or take "
            "it out"
        ) from error


def _files_in(entry: os.DirEntry[str]) -> Iterator[str]:
    """Yield a file, or all files of a folder and below, with the way to them."""
    if not _is_folder(entry):
        yield entry.name
        return
    outside = os.path.dirname(entry.path)
    for folder, inside, files in os.walk(entry.path):
        inside.sort()
        yield from (os.path.relpath(os.path.join(folder, file), outside) for file in sorted(files))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False


def _is_special(entry: os.DirEntry[str]) -> bool:
    try:
        # Of a broken link, who reads it says so.
        return not entry.is_file() and os.path.exists(entry.path)
    except OSError:
        return False


def _check_name(entry: os.DirEntry[str]) -> None:
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in entry.name):
        raise UserError(
            f"the name of folder {entry.path!r} cannot be written down, and it would name a domain "
            "or class; rename it"
        )
