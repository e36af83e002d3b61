"""Names beside the ends of their lines, instead of a legend to look them up in."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LETTERS = 26
"""Most letters of a line of a name."""
LINE_HEIGHT = 0.12
"""Inches."""


def heights(labels: Sequence[str]) -> np.ndarray:
    """Return the height in inches ``[N]`` that each label takes."""
    return np.array([LINE_HEIGHT * (1 + wrapped(label).count("\n")) for label in labels])


def spread(positions: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return positions near the given ones, in the same order, that keep their distance.

    They stay within 0 to 1 where there is room.

    Args:
        positions: wanted centres ``[N]``.
        sizes: extent of each ``[N]``.
    """
    order = np.argsort(positions, kind="stable")
    extents = sizes[order]
    steps = np.concatenate([[0.0], np.cumsum((extents[1:] + extents[:-1]) / 2)])
    moved = np.empty(len(positions))
    lowest, highest = extents[0] / 2, 1 - extents[-1] / 2 - steps[-1]
    least = _rising(positions[order] - steps).clip(lowest, max(lowest, highest))
    moved[order] = least + steps
    return moved


def _rising(values: np.ndarray) -> np.ndarray:
    """Return the least-squares fit that never falls: neighbours that do are averaged."""
    blocks: list[list[float]] = []
    for value in values:
        blocks.append([value, 1.0])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            mean, count = blocks.pop()
            other = blocks[-1]
            other[0] = (other[0] * other[1] + mean * count) / (other[1] + count)
            other[1] += count
    return np.repeat([mean for mean, _ in blocks], [int(count) for _, count in blocks])


def label_ends(
    axes: Axes,
    ends: Mapping[str, tuple[float, float]],
    styles: Mapping[str, dict[str, Any]],
    height: float,
) -> None:
    """Write every name to the right of the axes, joined to its line's end in the line's style.

    Args:
        axes: with their final limits.
        ends: last point of each line, in data, by name.
        styles: ``color`` and ``linestyle`` by name.
        height: of the axes in inches.
    """
    names = list(ends)
    points = axes.transData.transform(list(ends.values()))
    wanted = axes.transAxes.inverted().transform(points)[:, 1]
    sizes = heights(names) / height
    for name, y in zip(names, spread(wanted, sizes), strict=True):
        line = {"arrowstyle": "-", "linewidth": 1.0, "shrinkA": 2, "shrinkB": 0}
        line |= {"relpos": (0, 0.5), "patchA": None}  # up to the middle of the name's left side
        axes.annotate(
            wrapped(name),
            xy=ends[name],
            xytext=(1.07, y),
            textcoords="axes fraction",
            va="center",
            fontsize=7,
            annotation_clip=False,
            arrowprops=line | styles[name],
        )


def wrapped(name: str) -> str:
    """Return a name on as many lines as it needs."""
    return textwrap.fill(name, LETTERS) or name
