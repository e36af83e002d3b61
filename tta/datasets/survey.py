"""What the headers of image files tell of how they are read."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tta.datasets.images import MOST_HEADERS, UNDECODABLE
from tta.datasets.pixels import TRAITS, traits


def survey(files: Sequence[Path]) -> str:
    """Return in words how many files are read otherwise than plainly, or nothing.

    Args:
        files: of more than :data:`~tta.datasets.images.MOST_HEADERS`, as many are looked at,
            spread evenly.
    """
    chosen = files
    if len(files) > MOST_HEADERS:
        chosen = [files[row] for row in np.linspace(0, len(files) - 1, MOST_HEADERS).astype(int)]
    with warnings.catch_warnings():  # which name no file
        warnings.simplefilter("ignore")
        found = Counter(name for file in chosen for name in _traits(file))
    parts = [f"{found[name]} {words}" for name, words in TRAITS.items() if found[name]]
    if len(chosen) < len(files):
        nothing = [] if parts else ["nothing unusual"]
        parts = [f"of {len(chosen)} looked at: " + ", ".join(parts or nothing)]
    return ", ".join(parts)


def _traits(file: Path) -> list[str]:
    try:
        with Image.open(file) as image:
            return traits(image)
    except UNDECODABLE:  # what reads or checks the file says so
        return []
