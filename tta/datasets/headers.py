"""What the headers of image files tell: how big they are, and how they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tta.datasets.images import DECODERS, UNDECODABLE, read_image
from tta.datasets.pixels import TRAITS, traits
from tta.foundation.geometry import Size
from tta.foundation.muted import mute


@dataclass(frozen=True)
class Header:
    """What is known of an image file before it is decoded.

    Attributes:
        size: (height, width) as it is shown.
        traits: which of :data:`~tta.datasets.pixels.TRAITS` it has; none of published files.
    """

    size: Size
    traits: tuple[str, ...] = ()


def read_header(file: Path, cure: str, published: bool = False) -> Header:
    """Return what a file's header tells, decoding it only where that leaves a doubt.

    Args:
        file: the image.
        cure: what the user can do about a bad file.
        published: see :func:`tta.datasets.images.read_image`.

    Raises:
        UserError: see :func:`tta.datasets.images.read_image`.
    """
    found: list[str] = []
    try:
        with Image.open(file) as image:
            found = [] if published else traits(image)
            if "turned" not in found:
                return Header((image.height, image.width), tuple(found))
    except UNDECODABLE:
        pass  # decoding says what is wrong with it
    height, width = read_image(file, cure=cure, published=published).shape[1:]
    return Header((height, width), tuple(found))


def headers_of(files: Iterable[Path], cure: str, published: bool = False) -> Counter[Header]:
    """Return how many image files have which header; see :func:`read_header`."""
    mute(module=DECODERS)
    return Counter(read_header(file, cure, published) for file in files)


def sizes_of(headers: Iterable[Header]) -> frozenset[Size]:
    """Return every (height, width) that occurs."""
    return frozenset(header.size for header in headers)


def survey(headers: Mapping[Header, int]) -> str:
    """Return in words how many files are read otherwise than plainly, or nothing."""
    found: Counter[str] = Counter()
    for header, count in headers.items():
        found.update(dict.fromkeys(header.traits, count))
    return ", ".join(f"{found[name]} {words}" for name, words in TRAITS.items() if found[name])
