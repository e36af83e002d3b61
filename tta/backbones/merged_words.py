"""What a checkpoint of merged weights says in its header of the networks that are in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tta.foundation.inputs import shown_path

MERGED = "merged"
"""Key of the header's metadata."""
_LISTED = 12
_DIGITS = 8


@dataclass(frozen=True)
class Ingredient:
    """One of the networks that were merged.

    Attributes:
        file: name of its checkpoint.
        sha256: see :func:`tta.backbones.checkpoint.weights_sha256`.
        weight: its share.
        accuracy: on held-out source images, a fraction; None where there are none.
    """

    file: str
    sha256: str
    weight: float
    accuracy: float | None


def merged_metadata(how: str, ingredients: Sequence[Ingredient]) -> dict[str, str]:
    """Return the entry of a safetensors header that :func:`merged_words` reads.

    Args:
        how: they were merged, in words.
        ingredients: those that are in it.
    """
    facts = {"how": how, "ingredients": [asdict(one) for one in ingredients]}
    return {MERGED: json.dumps(facts)}


def merged_words(metadata: Mapping[str, str]) -> str:
    """Return in words of which networks a checkpoint is made; empty where it says nothing of it."""
    try:
        facts = json.loads(metadata.get(MERGED, "null"))
        listed = [_ingredient(one) for one in facts["ingredients"][:_LISTED]]
        more = len(facts["ingredients"]) - len(listed)
        rest = [f"{more} more"] if more > 0 else []
        return f"{shown_path(facts['how'])} of {', '.join(listed + rest)}"
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):  # somebody else's file
        return ""


def _ingredient(facts: Mapping[str, Any]) -> str:
    name, digest = shown_path(facts["file"]), shown_path(facts["sha256"])[:_DIGITS]
    words = f"{name} ({digest}, weight {float(facts['weight']):.3g}"
    if facts["accuracy"] is None:
        return f"{words})"
    return f"{words}, {100 * float(facts['accuracy']):.2f} %)"
