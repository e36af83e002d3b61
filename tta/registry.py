"""A lazy registry: names map to ``module:attribute`` until somebody asks for the object."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from tta.errors import UserError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Objects of one kind by name.

    Args:
        kind: what the objects are, for messages ("method").
        locations: built-in names and where they live, as ``module:attribute``.
        entry_point_group: group under which other packages publish objects of this kind.
    """

    def __init__(
        self, kind: str, locations: dict[str, str], entry_point_group: str | None = None
    ) -> None:
        self.kind = kind
        self._locations = dict(locations)
        self._objects: dict[str, T] = {}
        self._group = entry_point_group

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._locations, *self._published()}))

    def __contains__(self, name: object) -> bool:
        return name in set(self)

    def __getitem__(self, name: str) -> T:
        if name not in self._objects:
            self._objects[name] = self._load(name)
        return self._objects[name]

    def _load(self, name: str) -> T:
        if name in self._locations:
            module, attribute = self._locations[name].split(":")
            return getattr(import_module(module), attribute)
        if name not in self._published():
            raise UserError(f"unknown {self.kind} {name!r}; {did_you_mean(name, self)}")
        try:
            return self._published()[name].load()
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"{self.kind} {name!r} is published by an installed package but cannot be "
                f"loaded: {error}; mend or uninstall that package"
            ) from error

    def _published(self) -> dict[str, EntryPoint]:
        if self._group is None:
            return {}
        return {point.name: point for point in entry_points(group=self._group)}
