"""A lazy registry: names map to ``module:attribute`` until somebody asks for the object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any, Generic, TypeVar

from tta.foundation.errors import UserError, did_you_mean
from tta.foundation.own_file import check_file, imported, split_own

T = TypeVar("T")


class Registry(Generic[T]):
    """Objects of one kind by name.

    Args:
        kind: what the objects are, for messages ("method").
        locations: built-in names and where they live, as ``module:attribute``.
        entry_point_group: group under which other packages publish objects of this kind.
        wanted: what they are in Python ("subclass of tta.methods.Method"), for messages.
        flaw: tells of an object that another package publishes, or a user's own file has, why it
            is none of this kind ("is no ..."), or None.
    """

    def __init__(
        self,
        kind: str,
        locations: dict[str, str],
        entry_point_group: str | None = None,
        wanted: str = "object",
        flaw: Callable[[Any], str | None] = lambda _: None,
    ) -> None:
        self.kind = kind
        self._locations = dict(locations)
        self._objects: dict[str, T] = {}
        self._group = entry_point_group
        self._wanted = wanted
        self._flaw = flaw

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._locations, *self._published()}))

    def __contains__(self, name: object) -> bool:
        return name in self._locations or name in self._published()

    def __getitem__(self, name: str) -> T:
        if name not in self._objects:
            self._objects[name] = self._load(name)
        return self._objects[name]

    def find(self, name: str) -> T:
        """Return what a registered name, or ``path/to/file.py:Name``, stands for.

        Raises:
            UserError: there is no such name, file or object in it; the file cannot be imported;
                the object is not what it should be.
        """
        own = split_own(name)
        return self[name] if own is None else self._of_file(*own)

    def _of_file(self, path: Path, attribute: str) -> T:
        found = getattr(imported(path, self.kind), attribute, None)
        flaw = f"is no {self._wanted}" if found is None else self._flaw(found)
        if flaw == f"is no {self._wanted}":
            raise UserError(
                f"{str(path)!r} has no {self._wanted} named {attribute!r}; check the name after "
                "the colon"
            )
        if flaw:
            raise UserError(f"{attribute} in {str(path)!r} {flaw}")
        return found

    def check(self, name: str) -> None:
        """Refuse a name that stands for nothing, without importing what it stands for.

        Raises:
            UserError: it is unknown; a file is missing or is not Python.
        """
        own = split_own(name)
        if own is not None:
            check_file(own[0], self.kind)
        elif name not in self:
            raise UserError(f"unknown {self.kind} {name!r}; {did_you_mean(name, self)}")

    def location(self, name: str) -> str | None:
        """Return ``module:attribute`` of a built-in object; None for any other name."""
        return self._locations.get(name)

    def _load(self, name: str) -> T:
        self.check(name)
        if name in self._locations:
            module, attribute = self._locations[name].split(":")
            return getattr(import_module(module), attribute)
        return self._published_object(name)

    def _published_object(self, name: str) -> T:
        where = f"{self.kind} {name!r} is published by an installed package but"
        try:
            found = self._published()[name].load()
        except KeyboardInterrupt:  # the user's, not the package's
            raise
        except BaseException as error:  # a package may raise anything, or exit
            raise UserError(
                f"{where} cannot be loaded ({type(error).__name__}: {error}); mend or uninstall "
                "that package"
            ) from error
        reason = self._flaw(found)
        if reason:
            raise UserError(f"{where} {reason}; mend or uninstall that package")
        return found

    def _published(self) -> dict[str, EntryPoint]:
        if self._group is None:
            return {}
        found: dict[str, EntryPoint] = {}
        for distribution in distributions():
            for point in _entry_points(distribution):
                if point.group == self._group:
                    found.setdefault(point.name, point)  # the first on the path is imported
        return found


def _entry_points(distribution: Distribution) -> tuple[EntryPoint, ...]:
    """Return what a package publishes; nothing where its list cannot be read."""
    try:
        return tuple(distribution.entry_points)
    except (OSError, ValueError, TypeError, AttributeError, LookupError):
        return ()


def lazy_attributes(module: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module's ``__getattr__``: names that are imported when they are asked for.

    Args:
        module: the module that offers the names.
        homes: the modules that the names live in.
    """

    def lookup(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return lookup
