"""What ``--params`` prints: a method's hyper-parameters, and what presets say of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import get_type_hints

from tta.commands.listing import assignments
from tta.foundation.terminal import columns
from tta.methods import find_method
from tta.methods.dense import dense_defaults
from tta.methods.params import INNER
from tta.presets import columns_of


def parameter_lines(name: str, width: int) -> list[str]:
    """Return a method's hyper-parameters with defaults and meanings, then what goes over these."""
    method = find_method(name)
    rows = list(_rows(method.Params))
    if not rows:
        return [f"method {method.name!r} has no hyper-parameters"]
    lines = columns([("parameter", "default", "meaning"), *rows], width)
    dense, presets = dense_defaults(method), columns_of(method.name)
    if dense:
        lines += ["", "of label maps, over the defaults and below presets:"]
        lines += columns([("  segmentation", assignments(dense))], width)
    if presets:
        lines += ["", "presets, over the defaults:"]
    return lines + columns([(f"  {key}", assignments(of)) for key, of in presets.items()], width)


def _rows(params: type) -> Iterator[tuple[str, str, str]]:
    """Yield name, default and meaning of each; of the usual method inside after the others."""
    hints = get_type_hints(params)
    for field in dataclasses.fields(params):
        if field.name != "inner_params":
            yield field.name, str(field.default), _meaning(field, hints[field.name])
    if hasattr(params, "find_inner"):
        inside = params.find_inner(params.inner).Params
        yield from ((f"{INNER}.{name}", *rest) for name, *rest in _rows(inside))


def _meaning(field: dataclasses.Field, hint: object) -> str:
    parts = [field.metadata.get("help", ""), field.metadata.get("unit", "")]
    choices = field.metadata.get("choices")
    if choices:
        parts.append("one of " + ", ".join(str(choice) for choice in choices))
    kind = getattr(hint, "__name__", str(hint))
    return "; ".join(part for part in parts if part) or kind
