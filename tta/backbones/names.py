"""Names of architectures, read from source: timm itself takes seconds to import."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

from tta.backbones.dense.names import check_dense_name, is_dense_name
from tta.foundation.errors import UserError, did_you_mean

_REGISTERED = re.compile(rb"^@register_model\s*\n(?:@[^\n]*\n)*def (\w+)\(", re.MULTILINE)
_DESCRIBED = re.compile(r'(\w+)\([^)]*\)[^:\n]*:\n\s+r?"""\s*(\S[^\n]*)')
_OWN = Path(__file__).parent / "nets"


@cache
def architectures() -> frozenset[str]:
    """Return the names that timm and this package register, without importing either."""
    return frozenset(homes())


@cache
def homes() -> dict[str, Path]:
    """Return the file that registers each of the names."""
    spec = find_spec("timm")
    places = spec.submodule_search_locations if spec else None
    timms = (_registered(Path(place, "models")) for place in places or ())
    return dict(chain(*(found.items() for found in timms), _registered(_OWN).items()))


def is_own(name: str) -> bool:
    """Return whether this package registers an architecture, not timm."""
    return homes()[name].parent == _OWN


def described(name: str) -> str:
    """Return the first line of what an architecture's source says of it, where that says any."""
    return _descriptions(homes()[name]).get(name, "")


@cache
def _descriptions(file: Path) -> dict[str, str]:
    functions = re.split("^def ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = [_DESCRIBED.match(function) for function in functions[1:]]
    return {match[1]: match[2].removesuffix('"""').strip() for match in found if match}


def _registered(folder: Path) -> dict[str, Path]:
    texts = {file: file.read_bytes() for file in sorted(folder.glob("*.py"))}
    return {
        name.decode(): file for file, text in texts.items() for name in _REGISTERED.findall(text)
    }


def check_architecture(name: str) -> None:
    """Refuse a backbone whose architecture nobody registers; a tag is not looked at.

    Raises:
        UserError: with the nearest names.
    """
    built_on = check_dense_name(name) if is_dense_name(name) else name
    if built_on is not None and built_on.partition(".")[0] not in architectures():
        raise unknown_backbone(built_on, architectures())


def unknown_backbone(name: str, known: Collection[str]) -> UserError:
    """Return the error of a name that is not among ``known``."""
    near = difflib.get_close_matches(name, known, n=3)
    hint = did_you_mean(name, near or _registered(_OWN))
    hint += "" if near else " and all of timm.list_models()"
    return UserError(f"unknown backbone {name!r}; {hint}")
