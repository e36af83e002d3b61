"""Something of one's own in a Python file: a method, a data set, a scenario."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from tta.foundation.errors import UserError
from tta.foundation.inputs import is_file

_PREFIX = "tta_user_"
"""Of the modules that users' files become."""


def split_own(name: str) -> tuple[Path, str] | None:
    """Return file and object of ``path/to/file.py:Name``; None for a registered name."""
    path, colon, attribute = name.rpartition(":")
    return (Path(path), attribute) if colon and path.endswith(".py") else None


def check_file(path: Path, kind: str) -> None:
    """Refuse a file that is missing or is not Python, without running it.

    Args:
        path: of the file.
        kind: what is looked for in it ("method"), for messages.

    Raises:
        UserError: see above.
    """
    if not is_file(path, f"{kind} file"):
        raise UserError(f"{kind} file {str(path)!r} does not exist; give path/to/file.py:Name")
    try:
        ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(
            f"{kind} file {str(path)!r} cannot be read ({error.strerror}); check its permissions"
        ) from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _fault(path, kind, getattr(error, "lineno", None), error) from error


def imported(path: Path, kind: str) -> ModuleType:
    """Return a file as a module: run once, and again where it has changed.

    Args:
        path: of the file.
        kind: see :func:`check_file`.

    Raises:
        UserError: the file cannot be imported.
    """
    check_file(path, kind)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = sys.modules.get(module_name(path))
    if getattr(known, "__digest__", None) == digest:
        return known
    return _run(path, kind, digest)


def own_home(found: Any) -> tuple[str, str] | None:
    """Return the file and the qualified name of a class or function of a user's file, or None."""
    module = sys.modules.get(getattr(found, "__module__", None) or "")
    local = "<" in getattr(found, "__qualname__", "<")  # found by nobody
    if local or module is None or not module.__name__.startswith(_PREFIX):
        return None
    return str(module.__file__), found.__qualname__


def from_home(file: str, name: str) -> Any:
    """Return what :func:`own_home` told of, in a process that may not have run the file.

    Raises:
        UserError: the file cannot be imported.
    """
    return attrgetter(name)(imported(Path(file), "user's"))


def module_name(path: Path) -> str:
    """Return the name under which a file is imported: another one for each file."""
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    return f"{_PREFIX}{place}_{path.stem}"


def _run(path: Path, kind: str, digest: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(module_name(path), path.resolve())
    assert spec is not None and spec.loader is not None  # noqa: S101 - a .py file has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up while the class is made
    try:
        with _beside(path):
            spec.loader.exec_module(module)
    except KeyboardInterrupt:  # the user's, not the file's
        raise
    except BaseException as error:  # a file may raise anything, or exit
        del sys.modules[spec.name]
        line = _line(error, str(spec.origin)) or getattr(error, "lineno", None)
        raise _fault(path, kind, line, error) from error
    module.__digest__ = digest
    return module


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Let what lies beside a file be imported by it, as where Python is given the file to run."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _line(error: BaseException, file: str) -> int | None:
    """Return the innermost line of a file that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == file), None)


@contextlib.contextmanager
def faults_of(whose: str, code: Any) -> Iterator[None]:
    """Say in one line what goes wrong in somebody's own code.

    Args:
        whose: in words, for messages.
        code: the class or function.

    Raises:
        UserError: the code raises anything but one itself.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a user's code may raise anything
        module = sys.modules.get(getattr(code, "__module__", ""), None)
        line = _line(error, getattr(module, "__file__", None) or "")
        place = f" in line {line}" if line else ""
        raise UserError(
            f"{whose} fails{place} ({type(error).__name__}: {error}); mend the file"
        ) from error


def _fault(path: Path, kind: str, line: int | None, error: BaseException) -> UserError:
    place = f" in line {line}" if line else ""
    cure = "install it" if isinstance(error, ModuleNotFoundError) else "mend the file"
    return UserError(
        f"{kind} file {str(path)!r} fails{place} ({type(error).__name__}: {error}); {cure}"
    )
