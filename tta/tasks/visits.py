"""Rows of visits to domains: of how many images their errors are, and those of streams in which
domains come back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any


def errors_by_visit(rows: Sequence[Mapping[str, Any]], name: str = "error") -> list[float | None]:
    """Return the error of the first visit to the domains, of the second, ...: means over domains.

    A domain comes back after another one, or at the same severity as just before; where only
    its severity changes, the visit goes on. A stream that ended early has fewer domains, or none,
    in the last visits.

    Args:
        rows: of the visits in stream order, with ``domain``, ``severity`` and ``error``, a
            fraction, or None where a visit shows no image that has one.
        name: of the figure that is taken in place of the error.

    Returns:
        ``[K]``, fractions, None for a visit in which no image has an error; empty where no domain
        comes back.
    """
    counts: dict[str, int] = defaultdict(int)
    visits: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    before: tuple[Any, Any] = (None, None)
    for row in rows:
        domain, severity = row["domain"], row["severity"]
        if domain != before[0] or severity == before[1]:
            counts[domain] += 1
        if row[name] is not None:
            visits[counts[domain]][domain].append(row[name])
        before = domain, severity
    last = max(counts.values(), default=0)
    if last < 2:
        return []
    found = [visits[number] for number in range(1, last + 1)]
    return [fmean(map(fmean, one.values())) if one else None for one in found]


def judged_images(row: Mapping[str, Any]) -> int:
    """Return how many images of a visit errors are of: the known ones."""
    return row.get("known", row["samples"])
