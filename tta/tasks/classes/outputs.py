"""What the outputs of a model are called."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

WNID = re.compile(r"n\d{8}")
_LINE = re.compile(r"(n\d{8})[\s,:]+(.+)")

WNID_MATCH = "wnid"
NAME_MATCH = "name"
LOOSE_MATCH = "name but for case, spaces and underscores"
LEMMA_MATCH = "first lemma of the wnid"


@dataclass(frozen=True)
class OutputNames:
    """Names of a model's outputs.

    Attributes:
        names: of every output, in order; None for an output that has none.
        origin: where they come from, in words.
        lemmas: words for wnids among the names, "tench, Tinca tinca".
    """

    names: tuple[str | None, ...]
    origin: str
    lemmas: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def exact(self) -> dict[str, tuple[int, str]]:
        """By name as it is spelt: the output, and what the match is called."""
        found: dict[str, tuple[int, str]] = {}
        for output, name in self._named():
            found[name] = (output, WNID_MATCH if WNID.fullmatch(name) else NAME_MATCH)
            line = _LINE.fullmatch(name)  # "n01440764 tench, Tinca tinca"
            if line is not None:
                found.setdefault(line[1], (output, WNID_MATCH))
        return found

    @cached_property
    def alike(self) -> dict[str, dict[int, str]]:
        """By name as :func:`spelling` has it: the outputs that it may mean."""
        found: dict[str, dict[int, str]] = {}
        for output, name in self._named():
            for alias, kind in self._aliases(name):
                found.setdefault(spelling(alias), {}).setdefault(output, kind)
        return found

    def near(self, name: str) -> list[tuple[int, str]]:
        """Return the outputs that ``name`` may mean though it is spelt otherwise."""
        return list(self.alike.get(spelling(name), {}).items())

    def _named(self) -> Iterable[tuple[int, str]]:
        return ((output, name) for output, name in enumerate(self.names) if name is not None)

    def _aliases(self, name: str) -> Iterable[tuple[str, str]]:
        yield name, LOOSE_MATCH
        line = _LINE.fullmatch(name)
        words = line[2] if line is not None else self.lemmas.get(name)
        if words is not None:
            yield words, LEMMA_MATCH
            yield words.split(",")[0], LEMMA_MATCH


def spelling(name: str) -> str:
    """Return a name without what its spelling may differ in: case, spaces, ``_`` and ``-``."""
    folded = unicodedata.normalize("NFC", name).casefold()
    return re.sub(r"[\s_\-]+", " ", folded).strip()


def listed(names: Sequence[object], most: int = 5) -> str:
    """Return the first names as a text, and how many more there are."""
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + rest
