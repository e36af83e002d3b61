"""What presets say of a method, and of a method inside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from tta.methods.params import find_registered
from tta.presets import published_params

if TYPE_CHECKING:
    from tta.methods import Method


def published_for(
    method: type[Method],
    preset: str,
    backbone: str,
    given: Mapping[str, Any],
    find: Callable[[str], Any] = find_registered,
) -> tuple[dict[str, Any], str]:
    """Return a preset's hyper-parameters of a method on a backbone, and where they come from.

    Of a method around another one, those of the other too, as ``inner.NAME``; what the preset says
    of it as a part goes over what it says of it alone, where it is the same method. Nothing and no
    words where a preset says nothing.

    Args:
        method: whose they are.
        preset: its name.
        backbone: name.
        given: by the user, who may have chosen the method inside.
        find: see :func:`tta.methods.params.build_params`.

    Raises:
        UserError: there is no such preset.
    """
    published, origin = published_params(preset, method.name, backbone)
    for field in fields(method.Params):  # type: ignore[arg-type]
        if "of" in field.metadata:
            of, usual = field.metadata["of"], method.Params()
            before = published.get(of, getattr(usual, of))
            chosen = given.get(of, before)
            inner, inner_origin = _published_inner(of, find(chosen), preset, backbone, find)
            own = published if chosen == before else _without_inner(of, published)
            published = {**inner, **own}
            origin = "; ".join(filter(None, [origin, inner_origin]))
    return published, origin


def _published_inner(
    of: str, kind: Any, preset: str, backbone: str, find: Callable[[str], Any]
) -> tuple[dict[str, Any], str]:
    """Return what a preset says of the method inside, by ``OF.NAME``, and where that is from."""
    if kind is None:
        return {}, ""
    params, origin = published_for(kind, preset, backbone, {}, find)
    inside = {f"{of}.{name}": value for name, value in params.items()}
    return inside, origin and f"{kind.name}: {origin}"


def _without_inner(of: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return hyper-parameters without those of the method inside, which is another now."""
    return {name: value for name, value in params.items() if not name.startswith(f"{of}.")}
