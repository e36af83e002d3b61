"""What is known of a published data set: shown by `tta list`, relied on by the checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class DatasetFacts:
    """Facts of a published data set.

    Attributes:
        title: its name in papers.
        classes: number of classes that its labels count.
        images: images of a domain, at one severity; by domain where domains differ in size.
        licence: of the images, in words.
        origin: where its authors publish it.
        get: what ``python -m tta.get`` calls it.
        metric: the figure that papers report on it, "error" or "accuracy".
    """

    title: str
    classes: int
    images: int | Mapping[str, int]
    licence: str
    origin: str
    get: str
    metric: str = "error"

    def __post_init__(self) -> None:
        if not isinstance(self.images, int):
            object.__setattr__(self, "images", MappingProxyType(dict(self.images)))

    def images_of(self, domain: str) -> int:
        """Return how many images a domain has at one severity."""
        return self.images if isinstance(self.images, int) else self.images[domain]
