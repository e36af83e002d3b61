"""Which files of a user's own code a file is made of."""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

_INSTALLED = ("site-packages", "dist-packages")


def with_imports(files: Iterable[Path], apart: Path) -> list[Path]:
    """Return files, and those of the user's own that they import, however far away.

    Of an installed package that is the package itself; of other files, what lies in a folder that
    Python looks in, or beside them. Nothing is imported for it.

    Args:
        files: Python code.
        apart: folder whose files are left out, but for ``files``.
    """
    found: dict[Path, None] = {}
    waiting = [file.resolve() for file in files]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found[file] = None
        if not file.is_relative_to(apart):
            waiting += [one for one in _imported(file) if not one.is_relative_to(apart)]
    return list(found)


def _imported(file: Path) -> Iterator[Path]:
    places = _places(file)
    installed = _is_installed(places[0])
    for level, name in _names(file):
        parts = name.split(".") if name else []
        if level:
            yield from _module(file.parents[level - 1], parts, 0)
        elif not installed:
            for place in places:
                yield from _module(place, parts)
        elif parts[0] == file.relative_to(places[0]).parts[0]:
            yield from _module(places[0], parts)


def _places(file: Path) -> list[Path]:
    """Return where the modules that a file imports may lie; first, where its own package does."""
    root = file.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    folders = [Path(place or ".").resolve() for place in sys.path]
    library = Path(sysconfig.get_path("stdlib")).resolve()
    return [root, *(one for one in folders if not _is_installed(one) and one != library)]


def _is_installed(folder: Path) -> bool:
    return any(part in _INSTALLED for part in folder.parts)


def _names(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the level and the name of every module that a file may import."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # running it says what is wrong
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            yield node.level, base
            yield from ((node.level, f"{base}.{alias.name}".strip(".")) for alias in node.names)


def _module(place: Path, parts: list[str], first: int = 1) -> Iterator[Path]:
    """Yield the files of a module and of the packages that it is in, as far as there are any."""
    for count in range(first, len(parts) + 1):
        path = place.joinpath(*parts[:count])
        candidates = [path / "__init__.py"]
        if count:
            candidates.append(path.with_name(f"{path.name}.py"))
        yield from (one.resolve() for one in candidates if one.is_file())
