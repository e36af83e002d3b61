"""What presets say of a method, and of a method inside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tta.methods import find_method
from tta.methods.params import INNER, values_inside
from tta.presets import published_params

if TYPE_CHECKING:
    from tta.methods import Method


def published_for(
    method: type[Method],
    preset: str,
    backbone: str,
    given: Mapping[str, Any],
    find: Callable[[str], Any] = find_method,
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
        UserError: there is no such preset, or no method of the name inside.
    """
    published, origin = published_params(preset, method.name, backbone)
    usual = getattr(method.Params, INNER, None)
    if usual is None:
        return published, origin
    before = published.get(INNER, usual)
    chosen = given.get(INNER, before)
    kind = find(chosen) if isinstance(chosen, str) else None  # else refused with the parameters
    if kind is None:
        return published, origin
    inside, inner_origin = published_for(kind, preset, backbone, values_inside(given), find)
    if chosen != before:  # what is said of another method inside does not hold
        published = {name: v for name, v in published.items() if not name.startswith(f"{INNER}.")}
    published = {f"{INNER}.{name}": value for name, value in inside.items()} | published
    origins = origin, inner_origin and f"{chosen}: {inner_origin}"
    return published, "; ".join(filter(None, origins))


def chosen_inside(
    kind: Any, published: Mapping[str, Any], given: Mapping[str, Any], find: Callable[[str], Any]
) -> dict[str, Any]:
    """Return which methods inside are others than usual, by ``inner``, ``inner.inner`` and so on.

    Args:
        kind: the method class; None where nothing is known of it.
        published: what a preset says of it, which is the usual then.
        given: by the user.
        find: see :func:`tta.methods.params.build_params`.
    """
    usual = published.get(INNER, getattr(kind and kind.Params, INNER, None))
    if usual is None:
        return {}
    chosen = given.get(INNER, usual)
    inside = values_inside(published), values_inside(given)
    deeper = chosen_inside(find(chosen) if isinstance(chosen, str) else None, *inside, find)
    own = {} if chosen == usual else {INNER: chosen}
    return own | {f"{INNER}.{name}": value for name, value in deeper.items()}
