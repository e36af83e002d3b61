"""Unpacking archives that strangers have made."""

from __future__ import annotations

import errno
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from tta.foundation.errors import UserError

Member = tarfile.TarInfo | zipfile.ZipInfo

_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError)
# An encrypted member, or one packed by a method that Python lacks.
_UNREADABLE = (RuntimeError, NotImplementedError)


def extract(archive: Path, folder: Path) -> None:
    """Unpack a tar or zip file into ``folder``; nothing is seen there before all is unpacked.

    Files and folders are all that is unpacked, whatever this Python's own filters let through:
    every name is looked at before the first is written, and there are no links to follow.

    Raises:
        UserError: the archive is damaged, encrypted or larger than the disk, or has a member that
            would land outside ``folder``, a link, or a device.
    """
    aside = folder / f".{archive.name}.unpacking"
    with _explained(archive):
        _clear(aside)
        aside.mkdir(parents=True)
        try:
            _unpack(archive, aside)
            _merge(aside, folder)
        finally:
            _clear(aside)


@contextmanager
def _explained(archive: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(archive, error) from error
    except _UNREADABLE as error:
        raise UserError(
            f"{str(archive)!r} cannot be unpacked ({error}); unpack it by hand, or get it again "
            "from its authors"
        ) from error
    except OSError as error:
        if error.errno is None or isinstance(error, (FileExistsError, NotADirectoryError)):
            raise _damaged(archive, error) from error  # not gzip; a file where a folder belongs
        cure = "make room" if error.errno == errno.ENOSPC else "look at the folder it goes to"
        raise UserError(
            f"{str(archive)!r} cannot be unpacked ({error.strerror}); {cure} and run this again"
        ) from error


def _damaged(archive: Path, error: Exception) -> UserError:
    return UserError(f"{str(archive)!r} is damaged ({error}); delete it and get it again")


def _clear(aside: Path) -> None:
    if aside.is_symlink():
        aside.unlink()
    shutil.rmtree(aside, ignore_errors=True)


def _unpack(archive: Path, folder: Path) -> None:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as opened:
            _write_all(archive, opened, opened.infolist(), folder)
    else:
        with tarfile.open(archive, "r:*", tarinfo=_Header) as opened:
            members = opened.getmembers()
            while opened.fileobj.read(1 << 20):  # to the end: there is the checksum of gzip and xz
                pass
            _write_all(archive, opened, members, folder)


class _Header(tarfile.TarInfo):
    """A member's header; one that is damaged, which tarfile takes for the end, is an error.

    So is a size below zero, on which Python before 3.13.6 reads without end (CVE-2025-8194).
    """

    @classmethod
    def fromtarfile(cls, opened: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            header = super().fromtarfile(opened)
        except tarfile.EOFHeaderError:
            if opened.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):  # the end has two empty blocks
                raise tarfile.ReadError("an empty header is followed by more") from None
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        if header.size < 0 or opened.offset <= header.offset:
            raise tarfile.ReadError("a size is below zero")
        return header


def _write_all(
    archive: Path,
    opened: tarfile.TarFile | zipfile.ZipFile,
    members: list[tarfile.TarInfo] | list[zipfile.ZipInfo],
    folder: Path,
) -> None:
    places = [folder / _checked_name(archive, member) for member in members]
    needed, free = sum(map(_size, members)), shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{str(archive)!r} unpacks to {needed / 2**30:.1f} GiB, and {str(folder.parent)!r} has "
            f"{free / 2**30:.1f} GiB; make room or choose another --data-dir"
        )
    for member, place in zip(members, places, strict=True):
        if _is_folder(member):
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        with _content(opened, member) as content, place.open("wb") as file:
            shutil.copyfileobj(content, file, 1 << 20)


def _checked_name(archive: Path, member: Member) -> PurePosixPath:
    """Return the path of a member below the folder.

    Raises:
        UserError: it leads out of the folder, or is neither a file nor a folder.
    """
    name = _name(member)
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise _unsafe(archive, name, "leads out of its folder")
    if not (_is_folder(member) or _is_file(member)):
        raise _unsafe(archive, name, "is a link or a device")
    return path


def _unsafe(archive: Path, member: str, fault: str) -> UserError:
    return UserError(
        f"{str(archive)!r} has a member {member!r} that {fault}; nothing was unpacked, get the "
        "archive from its authors"
    )


def _name(member: Member) -> str:
    return member.name if isinstance(member, tarfile.TarInfo) else member.filename


def _size(member: Member) -> int:
    return member.size if isinstance(member, tarfile.TarInfo) else member.file_size


def _is_folder(member: Member) -> bool:
    return member.isdir() if isinstance(member, tarfile.TarInfo) else member.is_dir()


def _is_file(member: Member) -> bool:
    if isinstance(member, tarfile.TarInfo):
        return member.isreg()
    return stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG)


def _content(opened: tarfile.TarFile | zipfile.ZipFile, member: Member) -> IO[bytes]:
    if isinstance(opened, zipfile.ZipFile):
        return opened.open(member)  # type: ignore[arg-type]
    content = opened.extractfile(member)  # type: ignore[arg-type]
    assert content is not None  # noqa: S101 - of a regular file, as has been checked
    return content


def _merge(source: Path, target: Path) -> None:
    for entry in source.iterdir():
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _merge(entry, place)
        else:
            entry.replace(place)
