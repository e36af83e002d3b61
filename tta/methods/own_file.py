"""A method of one's own, in a file or published by an installed package."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tta.foundation.errors import UserError
from tta.foundation.inputs import is_file

if TYPE_CHECKING:
    from tta.methods.base import Method


def split_own(name: str) -> tuple[Path, str] | None:
    """Return file and class of ``path/to/file.py:ClassName``; None for a registered name."""
    path, colon, class_name = name.rpartition(":")
    return (Path(path), class_name) if colon and path.endswith(".py") else None


def check_file(path: Path) -> None:
    """Refuse a file that is missing or is not Python, without running it.

    Raises:
        UserError: see above.
    """
    if not is_file(path, "method file"):
        raise UserError(f"method file {str(path)!r} does not exist; give path/to/file.py:ClassName")
    try:
        ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(
            f"method file {str(path)!r} cannot be read ({error.strerror}); check its permissions"
        ) from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _fault(path, getattr(error, "lineno", None), error) from error


def method_of_file(path: Path, class_name: str) -> type[Method]:
    """Return a method class of a file.

    Raises:
        UserError: see :func:`tta.methods.find_method`.
    """
    check_file(path)
    found = getattr(_imported(path), class_name, None)
    reason = flaw_of_method(found)
    if found is None or reason == NO_METHOD:
        raise UserError(
            f"{str(path)!r} has no subclass of tta.methods.Method named {class_name!r}; "
            "check the name after the colon"
        )
    if reason:
        raise UserError(f"class {class_name} in {str(path)!r} {reason}")
    return found


NO_METHOD = "is no subclass of tta.methods.Method"


def flaw_of_method(found: Any) -> str | None:
    """Return why an object is no whole method class, with the cure, or None."""
    from tta.methods.base import Method

    if not (isinstance(found, type) and issubclass(found, Method)):
        return NO_METHOD
    if not isinstance(getattr(found, "name", None), str):
        return f"has no name; give it one, such as name = {found.__name__.lower()!r}"
    if not dataclasses.is_dataclass(found.Params):
        return "has Params that are no dataclass; put @dataclass(frozen=True) above them"
    return None


def _imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tta_user_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # noqa: S101 - a .py file has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up while the class is made
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:  # the user's, not the file's
        raise
    except BaseException as error:  # a file may raise anything, or exit
        del sys.modules[spec.name]
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == spec.origin]
        line = lines[-1] if lines else getattr(error, "lineno", None)
        raise _fault(path, line, error) from error
    return module


def _fault(path: Path, line: int | None, error: BaseException) -> UserError:
    place = f" in line {line}" if line else ""
    cure = "install it" if isinstance(error, ModuleNotFoundError) else "mend the file"
    return UserError(
        f"method file {str(path)!r} fails{place} ({type(error).__name__}: {error}); {cure}"
    )
