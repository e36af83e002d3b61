"""Several corruptions on one image, as one domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tta.foundation.errors import UserError, did_you_mean

JOINT = "+"
"""Between the names of corruptions that follow each other."""


class Composing(Protocol):
    """What of a data set decides."""

    name: str
    domains: tuple[str, ...]
    makes_corruptions: bool


def composed_domain(dataset: Composing, corruptions: Sequence[str]) -> str:
    """Return the name of the domain whose images get several corruptions, in this order.

    Args:
        dataset: whose images they are.
        corruptions: domains of it.

    Raises:
        UserError: its images are not made on the fly; there are fewer than two corruptions, one
            twice, or one that it does not have.
    """
    if not dataset.makes_corruptions:
        raise UserError(
            f"--compose needs images that are corrupted on the fly, which those of dataset "
            f"{dataset.name!r} are not; choose digits-c, folder@gen:PATH or a name that ends in "
            "@gen"
        )
    for name in corruptions:
        if name not in dataset.domains:
            hint = did_you_mean(name, dataset.domains)
            raise UserError(f"--compose names an unknown corruption {name!r}; {hint}")
    if len(set(corruptions)) < max(2, len(corruptions)):
        raise UserError(
            f"--compose takes two corruptions or more, each once, but got {','.join(corruptions)}"
        )
    return JOINT.join(corruptions)
