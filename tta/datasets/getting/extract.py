"""Unpacking archives that strangers have made."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tta.errors import UserError


def extract(archive: Path, folder: Path) -> None:
    """Unpack a tar or zip file into ``folder``; nothing is seen there before all is unpacked.

    Raises:
        UserError: the archive is damaged, or has a member that would land outside ``folder``, a
            link that leads there, or a device; or this Python is too old to look for them.
    """
    aside = folder / f".{archive.name}.unpacking"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        if archive.suffix == ".zip":
            _extract_zip(archive, aside)
        else:
            _extract_tar(archive, aside)
        _merge(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _extract_tar(archive: Path, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise UserError(
            f"this Python cannot unpack {str(archive)!r} safely; use Python 3.10.12, 3.11.4 or "
            "newer, or unpack it by hand"
        )
    try:
        with tarfile.open(archive, "r:*") as members:
            members.extractall(folder, filter="data")
    except tarfile.FilterError as error:
        raise _unsafe(archive, error.tarinfo.name) from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise _damaged(archive, error) from error


def _extract_zip(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as members:
            for member in members.infolist():
                path = PurePosixPath(member.filename.replace("\\", "/"))
                link = stat.S_ISLNK(member.external_attr >> 16)
                if link or path.is_absolute() or ".." in path.parts:
                    raise _unsafe(archive, member.filename)
            members.extractall(folder)  # noqa: S202 - every member has been looked at
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise _damaged(archive, error) from error


def _unsafe(archive: Path, member: str) -> UserError:
    return UserError(
        f"{str(archive)!r} has a member {member!r} that leads out of its folder; nothing was "
        "unpacked, get the archive from its authors"
    )


def _damaged(archive: Path, error: Exception) -> UserError:
    return UserError(f"{str(archive)!r} is damaged ({error}); delete it and get it again")


def _merge(source: Path, target: Path) -> None:
    for entry in source.iterdir():
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _merge(entry, place)
        else:
            entry.replace(place)
