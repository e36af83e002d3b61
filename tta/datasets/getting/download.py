"""A file from a web server: resumed where it stopped, checked before it gets its name."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO

from tqdm import tqdm

from tta.foundation.errors import UserError
from tta.foundation.files import open_growing

TIMEOUT = 30.0
ATTEMPTS = 5
CHUNK = 1 << 20
_HEAD = 512


@dataclass(frozen=True)
class Download:
    """A file that its publisher offers.

    Attributes:
        url: its address.
        name: its name on disk.
        size: in bytes, where it is published.
        checksum: ``md5:...`` or ``sha256:...``, or "" where nobody publishes one.
        checksum_by: who does.
        provides: what it puts into the folder that it is unpacked in.
    """

    url: str
    name: str
    size: int | None = None
    checksum: str = ""
    checksum_by: str = ""
    provides: tuple[str, ...] = ()

    @property
    def is_archive(self) -> bool:
        """Whether it is to be unpacked."""
        return self.name.endswith((".tar", ".tar.gz", ".zip"))


def fetch(download: Download, folder: Path, pause: float = 2.0) -> Path:
    """Download a file into ``folder`` and return its path.

    What has arrived is kept as ``NAME.part`` and continued by the next attempt, in this run or a
    later one. The file gets its name once its size and checksum are right, or, where none is
    published, once its length is what the server announced and its first bytes are of its kind.
    A file that has its name already is checked in the same way, and stays where it is.

    Args:
        download: what to fetch.
        folder: where to put it.
        pause: seconds before another attempt.

    Raises:
        UserError: the server cannot be reached, sends something else, or the disk is too small.
    """
    path, part = folder / download.name, folder / f"{download.name}.part"
    if path.is_file():
        _check(download, path, "delete it, then run this again")
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        open_growing(part).close()
    except OSError as error:
        raise _unwritable(part, error) from error
    furthest = failures = 0
    while True:
        try:
            _continue(download, part)
            break
        except (OSError, http.client.HTTPException) as error:
            failures = 1 if _size(part) > furthest else failures + 1
            furthest = max(furthest, _size(part))
            if failures >= ATTEMPTS:
                raise UserError(
                    f"{download.url} gave {_size(part)} bytes and then failed ({error}); run this "
                    "again to continue where it stopped"
                ) from error
            time.sleep(pause)
    try:
        _check(download, part, "it was deleted, run this again")
    except UserError:
        part.unlink()
        raise
    return part.replace(path)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _unwritable(part: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot write {str(part)!r} ({error.strerror}); choose another --data-dir or make room"
    )


def _continue(download: Download, part: Path) -> None:
    start = _size(part)
    if download.size is not None and start >= download.size:
        return
    with _open(download, start) as response:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0  # a server that cannot continue sends the whole file again
        _check_headers(download, response.headers)
        total = _announced(response.headers, start)
        if download.size is not None and total not in (None, download.size):
            raise UserError(
                f"{download.url} announces {total} bytes where {download.size} are published; it "
                "is another file"
            )
        _check_space(download, part, total, start)
        with open_growing(part) as file:  # not where a link of that name points to
            file.truncate(start)
            _copy(download, response, file, start, total)
    if total is not None and _size(part) < total:
        raise ConnectionError(f"{_size(part)} of {total} bytes have come")


def _open(download: Download, start: int) -> http.client.HTTPResponse:
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(download.url, headers=headers)  # noqa: S310 - from sources.py
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise ConnectionError("the server has no more of it") from error
        if error.code >= http.client.INTERNAL_SERVER_ERROR:
            raise
        raise UserError(
            f"{download.url} answers {error.code} {error.reason}; get the file by hand, or try "
            "later"
        ) from error


def _announced(headers: Message, start: int) -> int | None:
    length = headers.get("Content-Length")
    return start + int(length) if length is not None and length.isdecimal() else None


def _check_headers(download: Download, headers: Message) -> None:
    if headers.get_content_type() == "text/html":
        raise _is_page(download)


def _is_page(download: Download) -> UserError:
    return UserError(
        f"{download.url} sends a web page in place of {download.name}; open it in a browser to "
        "see why"
    )


def _check_space(download: Download, part: Path, total: int | None, start: int) -> None:
    needed = (total or download.size or 0) - start
    if download.is_archive:
        needed += total or download.size or 0
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise UserError(
            f"{download.name} needs {needed / 2**30:.1f} GiB, to arrive and be unpacked, and "
            f"{str(part.parent)!r} has {free / 2**30:.1f} GiB; make room or choose another "
            "--data-dir"
        )


def _copy(
    download: Download,
    response: http.client.HTTPResponse,
    file: IO[bytes],
    start: int,
    total: int | None,
) -> None:
    with tqdm(
        initial=start, total=total, unit="B", unit_scale=True, desc=download.name, disable=None
    ) as bar:
        while chunk := response.read(CHUNK):
            if file.tell() == 0:
                _check_head(download, chunk[:_HEAD])
            try:
                file.write(chunk)
            except OSError as error:
                raise _unwritable(Path(file.name), error) from error
            bar.update(len(chunk))


def _check_head(download: Download, head: bytes) -> None:
    if head.lstrip()[:1] == b"<":
        raise _is_page(download)
    is_zip, is_tar = head[:4] == b"PK\x03\x04", head[257:262] == b"ustar"
    is_gzip = head[:2] == b"\x1f\x8b"
    wanted = is_zip if download.name.endswith(".zip") else is_tar or is_gzip
    if download.is_archive and len(head) == _HEAD and not wanted:
        raise UserError(
            f"{download.url} does not send an archive: it begins with {head[:16]!r}; get "
            f"{download.name} by hand"
        )


def _check(download: Download, file: Path, cure: str) -> None:
    """Compare a file with what is published of it.

    Raises:
        UserError: it is another file, or came in part.
    """
    with file.open("rb") as opened:
        _check_head(download, opened.read(_HEAD))
    found = _size(file)
    if download.size is not None and found != download.size:
        raise UserError(
            f"{str(file)!r} has {found} bytes where {download.size} are published; {cure}"
        )
    if download.checksum:
        algorithm, _, expected = download.checksum.partition(":")
        digest = file_digest(file, algorithm)
        if digest != expected:
            raise UserError(
                f"{str(file)!r} has {algorithm} {digest} where {expected} is published by "
                f"{download.checksum_by}; {cure}"
            )


def file_digest(file: Path, algorithm: str) -> str:
    """Return the digest of a file as hexadecimal digits."""
    digest = hashlib.new(algorithm)
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
