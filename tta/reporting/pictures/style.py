"""What the pictures share: paper sizes, and marks that can be told apart without colour."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tta.foundation.errors import UserError
from tta.foundation.files import written_aside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTHS = {"column": 3.5, "page": 7.2}
"""Inches: one column of a two-column paper, and the full text width."""
FORMATS = (".pdf", ".png", ".svg")
STYLE = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "legend.fontsize": 7.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 5.0,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType: publishers refuse the default
    "svg.hashsalt": "tta",  # equal pictures give equal files
    "savefig.dpi": 300,
    "text.parse_math": False,  # a name with dollar signs is a name
}


@contextlib.contextmanager
def paper_style() -> Iterator[None]:
    """Draw in the style of the pictures.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise UserError(
            "pictures need matplotlib, which is not installed; "
            "pip install 'tta-harness[plots]' (or matplotlib)"
        ) from error
    with matplotlib.rc_context(STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches that no window or global state knows of."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def check_format(file: Path) -> None:
    """Refuse a file name that tells no known format.

    Raises:
        UserError: its suffix is none of :data:`FORMATS`.
    """
    if file.suffix.lower() not in FORMATS:
        raise UserError(
            f"--output {str(file)!r} tells no format; end it in one of {', '.join(FORMATS)}"
        )


def save(figure: Figure, file: Path) -> None:
    """Write a figure in the format of the file's suffix, without a date.

    Raises:
        UserError: the file cannot be written.
    """
    undated = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    suffix = file.suffix.lower()
    try:
        with written_aside(file) as aside:
            figure.savefig(aside, format=suffix[1:], metadata=undated.get(suffix))
    except OSError as error:
        raise UserError(
            f"cannot write {str(file)!r} ({error.strerror}); choose another --output"
        ) from error
