"""What a run understood of the user's own things, said before it streams and kept in its record."""

from __future__ import annotations

from collections.abc import Mapping

from tta.foundation.text import printable

ORDER = ("files", "images", "unknown", "classes", "normalisation", "weights", "head", "compile")
"""What may be said, in the order in which it is shown: one line each."""


def in_order(*notes: Mapping[str, str]) -> dict[str, str]:
    """Return all notes as one mapping, in the order of :data:`ORDER`."""
    found = {name: text for part in notes for name, text in part.items()}
    return {name: found[name] for name in ORDER if name in found}


def with_those_of(part: str, notes: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """Return notes with those of another part of the run behind them, under its name."""
    joined = dict(notes)
    for name, text in others.items():
        joined[name] = "; ".join(filter(None, (joined.get(name), f"{part}: {text}")))
    return joined


def lines(notes: Mapping[str, str]) -> list[str]:
    """Return the lines that a run prints of its notes."""
    return [printable(f"{name}: {text}") for name, text in notes.items()]
