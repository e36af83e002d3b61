"""Files and folders that a user names: looked at without a traceback, read as text."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from tta.foundation.errors import UserError

_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_SHOWN = 200


def is_file(path: str | Path, what: str) -> bool:
    """Return whether there is such a file.

    Args:
        path: of the file.
        what: it is, for messages ("--weights").

    Raises:
        UserError: the path cannot be looked at.
    """
    mode = _mode(path, what)
    return mode is not None and stat.S_ISREG(mode)


def is_folder(path: str | Path, what: str) -> bool:
    """Return whether there is such a folder.

    Raises:
        UserError: the path cannot be looked at.
    """
    mode = _mode(path, what)
    return mode is not None and stat.S_ISDIR(mode)


def _mode(path: str | Path, what: str) -> int | None:
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # ValueError: NUL, or text that is no file name
        raise UserError(
            f"{what}: {shown_path(path)!r} cannot be looked at ({_reason(error)}); name a path "
            "that can"
        ) from error


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeError):
        return "it holds half a character"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def regular_file(path: str | Path, what: str) -> Path:
    """Return the path of a file that can be opened, with a leading ``~`` expanded.

    Args:
        path: as the user wrote it.
        what: what the file is, for messages.

    Raises:
        UserError: there is none, or a folder, a pipe or a device, or it may not be looked at.
    """
    name = f"{what} {shown_path(path)}"
    try:
        path = Path(path).expanduser()
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()
            return path
    except FileNotFoundError as error:
        raise UserError(f"{name} does not exist; check the path") from error
    except OSError as error:
        raise UserError(
            f"{name} cannot be looked at ({error.strerror}); check the path and its permissions"
        ) from error
    except (ValueError, RuntimeError) as error:  # a null byte, half a surrogate, an unknown ~user
        raise UserError(f"{name} cannot be the name of a file: {error}") from error
    if stat.S_ISDIR(mode):
        raise UserError(f"{name} is a directory; name the file in it")
    raise UserError(f"{name} is a pipe, a socket or a device; copy it to a file and name that")


def shown_path(path: str | Path) -> str:
    """Return a path as a message shows it: on one line, and not too long."""
    text = str(path)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}...{text[-_SHOWN // 2 :]}"


def check_writable(path: str | Path, flag: str) -> None:
    """Refuse a folder that cannot be made or written to; nothing is made.

    Args:
        path: of the folder, or of one that is to be made.
        flag: option that names it.

    Raises:
        UserError: see above.
    """
    folder = Path(path).absolute()
    while _mode(folder, flag) is None and folder != folder.parent:
        folder = folder.parent
    if not is_folder(folder, flag):
        reason = f"{shown_path(folder)!r} is no folder"
    elif not os.access(folder, os.W_OK | os.X_OK):
        reason = "permission denied"
    else:
        return
    raise UserError(f"cannot write to {shown_path(path)!r} ({reason}); choose another {flag}")


def read_text(path: str | Path, what: str) -> str:
    """Return the text of a UTF-8 file.

    Args:
        path: of the file.
        what: it is, for messages ("the file of --config").

    Raises:
        UserError: it is missing, cannot be read or is in another encoding.
    """
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise UserError(
            f"{what}: cannot read {shown_path(path)!r} ({_reason(error)}); check the path"
        ) from error
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)
    try:
        if encoding is None and b"\0" not in content:
            return content.decode("utf-8-sig")
        encoding = encoding or "UTF-16 without a mark, or no text"
    except UnicodeDecodeError as error:
        place = content.count(b"\n", 0, error.start) + 1
        encoding = f"not UTF-8 (line {place})"
    raise UserError(f"{what}: {shown_path(path)!r} is {encoding}; save it as UTF-8")


def check_once(files: Sequence[str | Path]) -> None:
    """Refuse files of which one is there twice.

    Raises:
        UserError: naming it.
    """
    seen: set[Path] = set()
    for file in files:
        path = Path(file).expanduser().resolve()
        if path in seen:
            raise UserError(f"{shown_path(file)} is given twice; name each file once")
        seen.add(path)
