"""Names of image-text models, ``clip:ARCHITECTURE/TAG`` and ``digits_clip``, without torch."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tta.foundation.errors import UserError, did_you_mean

PREFIX = "clip:"
EMBEDDED = "digits_clip"
"""The small one that comes with this package."""
NEEDS_EXTRA = (
    "needs the package open_clip_torch: pip install 'tta-harness[clip]', or pip install "
    "open_clip_torch"
)


def is_clip(name: str | None) -> bool:
    """Return whether a backbone's name is one of an image-text model."""
    return name == EMBEDDED or (name or "").startswith(PREFIX)


def split_clip(name: str) -> tuple[str, str | None]:
    """Return the architecture and the tag of ``clip:ARCHITECTURE/TAG``; a tag may be left out."""
    architecture, slash, tag = name.removeprefix(PREFIX).partition("/")
    return architecture, tag if slash else None


def check_clip(name: str, has_file: bool) -> None:
    """Refuse a name that stands for no image-text model, without importing any.

    Args:
        name: for which :func:`is_clip` holds.
        has_file: whether its weights are a file, for which no tag is needed.

    Raises:
        UserError: open_clip is not installed, has no such architecture, or the tag is missing.
    """
    if name == EMBEDDED:
        return
    if find_spec("open_clip") is None:
        raise UserError(f"backbone {name!r} {NEEDS_EXTRA}")
    architecture, tag = split_clip(name)
    if architecture not in architectures():
        raise UserError(
            f"backbone {name!r}: open_clip has no architecture {architecture!r}; "
            f"{did_you_mean(architecture, architectures())}"
        )
    if tag == "" or tag is None and not has_file:
        raise UserError(
            f"backbone {name!r} names no weights: write {PREFIX}{architecture}/TAG with a tag of "
            "open_clip, such as openai, or pass --weights FILE"
        )


def known_names() -> list[str]:
    """Return the names of all image-text models, of open_clip's without a tag."""
    found = architectures() if find_spec("open_clip") is not None else ()
    return [EMBEDDED, *(PREFIX + name for name in sorted(found))]


def described(name: str) -> str:
    """Return what a name stands for, in one line."""
    if name == EMBEDDED:
        return "tta, image-text: handwritten digits"
    return "open_clip, image-text: with /TAG or --weights"


@cache
def architectures() -> frozenset[str]:
    """Return the names that open_clip knows, read from its files; none where it is absent."""
    spec = find_spec("open_clip")
    folders = [Path(place, "model_configs") for place in spec.submodule_search_locations or ()]
    return frozenset(file.stem for folder in folders for file in folder.glob("*.json"))
