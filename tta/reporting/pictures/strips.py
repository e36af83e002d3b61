"""Images, their label maps, and what each method made of them."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tta.foundation.errors import UserError
from tta.reporting.comparing.rows import Row
from tta.reporting.pictures.style import new_figure
from tta.reporting.records.runs import Strips

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IGNORED, PUBLISHED_IGNORED = (0.75, 0.75, 0.75), (0.0, 0.0, 0.0)
"""Of pixels that do not count: grey, and beside published colours, which have greys, black."""
UNCOUNTED = "does not count"
LEGEND_COLUMNS = 8


def palette(classes: int) -> np.ndarray:
    """Return a colour per class ``[C, 3]``, 0 to 1: of neighbours hue and lightness are far apart.

    Hues go round by the golden angle, lightness takes three turns; the first is dark, as grounds
    are.
    """
    hues = (0.6 + np.arange(classes) * 0.381966) % 1
    lightness = np.array([0.35, 0.62, 0.48])[np.arange(classes) % 3]
    pairs = zip(hues, lightness, strict=True)
    return np.array([colorsys.hls_to_rgb(hue, light, 0.7) for hue, light in pairs])


def colours_of(strips: Strips, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the colour of each class, and of what does not count, by what the legend says.

    Colours are the data set's, where it has some.
    """
    colours, ignored = palette(len(names)), np.array(IGNORED)
    if strips.palette is not None:
        known, ignored = strips.palette[: len(names)] / 255, np.array(PUBLISHED_IGNORED)
        colours[: len(known)] = known
    return {**dict(zip(names, colours, strict=True)), UNCOUNTED: ignored}


def coloured(labels: np.ndarray, colours: dict[str, np.ndarray]) -> np.ndarray:
    """Return label maps ``[h, w]`` in colours ``[h, w, 3]``; what is no class has the last."""
    table = np.stack([*colours.values()])
    return table[np.minimum(labels, len(table) - 1)]


def draw_strips(rows: Sequence[Row], width: float, count: int) -> Figure:
    """Return, of the last image of ``count`` visits, the image, its labels and the predictions.

    Visits are spread evenly over those recorded; a column is a visit, and a row of pictures the
    predictions of the first run of a row. Of a method that adapts it is what adapting has led to
    by the visit's end; the source model's row, the first, is what it was before.

    Raises:
        UserError: a run that has no such pictures, or runs that show unlike images.
    """
    rows = sorted(rows, key=lambda row: row.summary["method"] != "source")
    shown = [_strips(row) for row in rows]
    names = list(rows[0].summary["class_iou"])
    first = shown[0]
    if not all(_alike(first, other) for other in shown):
        raise UserError(
            "these runs have pictures of unlike images: some did not come to their end, or their "
            "first seeds differ; name runs of one stream"
        )
    chosen = np.unique(np.linspace(0, len(first.position) - 1, count).astype(int))
    colours = colours_of(first, names)
    parts: list[tuple[str, list[np.ndarray]]] = [
        ("image", [first.strip[at, :3].transpose(1, 2, 0) for at in chosen]),
        ("labels", [coloured(first.strip[at, 3], colours) for at in chosen]),
    ]
    for row, strips in zip(rows, shown, strict=True):
        parts.append((row.label, [coloured(strips.strip[at, 4], colours) for at in chosen]))
    titles = [_title(first, at) for at in chosen]
    return _drawn(parts, titles, colours, width)


def _alike(one: Strips, other: Strips) -> bool:
    """Return whether images and labels are the same, at the same places of the stream."""
    if not np.array_equal(one.position, other.position):
        return False
    return np.array_equal(one.strip[:, :4], other.strip[:, :4])


def _strips(row: Row) -> Strips:
    found = row.runs[0].strips()
    if found is None:
        raise UserError(
            f"{str(row.runs[0].path)!r} has no strips.npz: it does not segment, or "
            f"{row.runs[0].cure}"
        )
    return found


def _title(strips: Strips, at: int) -> str:
    severity = strips.severity[at]
    name = str(strips.domain[at]).replace("_", " ")
    return f"{name} {severity}" if severity else name


def _drawn(
    parts: Sequence[tuple[str, list[np.ndarray]]],
    titles: Sequence[str],
    colours: dict[str, np.ndarray],
    width: float,
) -> Figure:
    from matplotlib.patches import Patch

    columns, side = len(titles), parts[0][1][0].shape
    height = (width - 0.9) / columns * side[0] / side[1] + 0.03
    lines = -(-len(colours) // LEGEND_COLUMNS)
    figure = new_figure(width, height * len(parts) + 0.35 + 0.17 * lines)
    grid = figure.subplots(len(parts), columns, squeeze=False)
    for axes, (name, pictures) in zip(grid, parts, strict=True):
        for one, picture in zip(axes, pictures, strict=True):
            one.imshow(picture, interpolation="nearest")
            one.set(xticks=[], yticks=[])
            one.spines[:].set_visible(False)
        axes[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=7)
    for one, title in zip(grid[0], titles, strict=True):
        one.set_title(title, fontsize=7, pad=2)
    patches = [Patch(color=colour, label=name) for name, colour in colours.items()]
    columns = min(LEGEND_COLUMNS, len(patches))
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, fontsize=6)
    return figure
