"""Hyper-parameters: a frozen dataclass per method, read from text, refused with the cure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from tta.foundation.errors import UserError, did_you_mean
from tta.foundation.text import is_huge, shown

P = TypeVar("P")
GREATEST_FLOAT = 3.4e38
"""Beyond it is infinity in float32, in which models compute."""
GREATEST_WHOLE = 10**9
"""Of counts and sizes."""
INNER = "inner"
"""The parameter of a method around another one that names the other."""
_WITHIN = "inner_params"


def param(
    default: Any,
    help: str,
    *,
    unit: str = "",
    choices: tuple[Any, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
) -> Any:
    """Declare one hyper-parameter of a ``Params`` dataclass.

    Numbers must be finite in float32; whole numbers end at a thousand million, or where
    ``maximum`` says.

    Args:
        default: value where none is given.
        help: what it is, in a few words.
        unit: that it is counted in.
        choices: the only values, if they can be listed.
        minimum: least value of a number, or of each in a tuple.
        maximum: greatest value.
        below: bound that the value stays below.
    """
    metadata = {
        "help": help,
        "unit": unit,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
        "below": below,
    }
    return dataclasses.field(default=default, metadata=metadata)


def inner_params() -> Any:
    """Declare, as ``inner_params``, the hyper-parameters of the method that ``inner`` names.

    They are given one by one as ``inner.NAME``, or all in a mapping; the field holds the built
    ``Params`` of that method.
    """
    return dataclasses.field(
        default=None, metadata={"help": "hyper-parameters of that method, as inner.NAME"}
    )


def trained_param() -> Any:
    """Declare which parameters of the network are trained, where all of it could be."""
    return param(
        "all",
        "all parameters, or what modules call weight or bias: no class token, position embedding, "
        "layer scale or weight-norm pair",
        choices=("all", "weights_and_biases"),
    )


@dataclasses.dataclass(frozen=True)
class OptimizerParams:
    """What every method with an optimiser lets its user choose."""

    optimizer: str = param("adam", "optimiser", choices=("adam", "sgd"))
    lr: float = param(1e-3, "learning rate", minimum=0.0)
    momentum: float = param(0.9, "momentum (SGD) or beta1 (Adam)", minimum=0.0, below=1.0)
    nesterov: bool = param(True, "Nesterov momentum (SGD)")
    weight_decay: float = param(0.0, "weight decay", minimum=0.0)


def build_params(
    params_class: type[P],
    values: Mapping[str, Any],
    method: str,
    find: Callable[[str], Any] | None = None,
) -> P:
    """Return ``params_class`` with ``values`` over its defaults.

    Args:
        params_class: a method's ``Params``.
        values: by name.
        method: its name, for messages.
        find: returns the class of a method inside by name, or None where nothing is known of it
            yet, whose hyper-parameters then stay as they are given; by default what
            ``params_class.find_inner`` returns.

    Raises:
        UserError: an unknown name, a value of another type, or one out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(params_class)}  # type: ignore[arg-type]
    hints = get_type_hints(params_class)
    values, within = _apart(values) if _WITHIN in fields else (values, {})
    checked = {}
    for name, value in values.items():
        if name not in fields:
            known = [f"{INNER}.NAME" if known == _WITHIN else known for known in fields]
            hint = did_you_mean(name, known) if known else "it has none"
            raise UserError(f"method {method!r} has no parameter {name!r}; {hint}")
        converted = _convert(value, hints[name], f"{method}.{name}")
        _check_range(converted, fields[name].metadata, f"{method}.{name}")
        checked[name] = converted
    if _WITHIN in fields:
        chosen = checked.get(INNER, fields[INNER].default)
        kind = (find or params_class.find_inner)(chosen)  # type: ignore[attr-defined]
        built = within if kind is None else build_params(kind.Params, within, chosen, find)
        checked[_WITHIN] = built
    return params_class(**checked)


def plain_params(params: Any) -> dict[str, Any]:
    """Return values by name, from which :func:`build_params` makes ``params`` again.

    Those of a method inside are ``inner.NAME``.
    """
    values = {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}
    inside = values.pop(_WITHIN, None)
    if dataclasses.is_dataclass(inside):
        values |= {f"{INNER}.{name}": value for name, value in plain_params(inside).items()}
    return values


def changed_params(params: Any, usual: Any) -> dict[str, Any]:
    """Return the values in which ``params`` differ from ``usual``, by name."""
    before = plain_params(usual)
    return {
        name: value
        for name, value in plain_params(params).items()
        if name not in before or value != before[name]
    }


def choices_inside(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some values that say which methods are inside."""
    return {name: value for name, value in values.items() if name.split(".")[-1] == INNER}


def values_inside(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some values that are the method's inside, by its names."""
    prefix = f"{INNER}."
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def by_name(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values whose mapping ``inner_params``, if any, is taken apart to ``inner.NAME``.

    Raises:
        UserError: it is no mapping.
    """
    whole = values.get(_WITHIN) or {}
    if not isinstance(whole, Mapping):
        raise UserError(f"parameter {_WITHIN} must be a mapping, but got {shown(whole)}")
    inside = {f"{INNER}.{name}": value for name, value in by_name(whole).items()} if whole else {}
    return inside | {name: value for name, value in values.items() if name != _WITHIN}


def _apart(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of a method itself, and those of the method inside it."""
    given = by_name(values)
    own = {name: value for name, value in given.items() if not name.startswith(f"{INNER}.")}
    return own, values_inside(given)


def _convert(value: Any, hint: Any, label: str) -> Any:
    if get_origin(hint) is tuple:
        return _convert_list(value, get_args(hint)[0], label)
    types = get_args(hint) or (hint,)
    if value is None and type(None) in types:
        return None
    for kind in types:
        if get_origin(kind) is tuple:
            return _convert(value, kind, label)
    if (bool in types and isinstance(value, bool)) or (str in types and isinstance(value, str)):
        return value
    number = _number(value)
    if number is not None and float in types:
        return float(number)
    if number is not None and int in types and number == int(number):
        return int(number)
    names = " or ".join(getattr(kind, "__name__", str(kind)) for kind in types)
    finite = "finite " if isinstance(value, float) and not math.isfinite(value) else ""
    raise UserError(f"parameter {label} must be {finite}{names}, but got {shown(value)}")


def _convert_list(value: Any, kind: Any, label: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise UserError(
            f"parameter {label} must be a list such as [0.1, 0.5], but got {shown(value)}"
        )
    return tuple(_convert(item, kind, label) for item in value)


def _number(value: Any) -> int | float | None:
    """Return a finite number; None for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)  # a number in quotes
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, int):
        return None if is_huge(value) else value
    return value if math.isfinite(value) else None


def _check_range(value: Any, metadata: Mapping[str, Any], label: str) -> None:
    choices = metadata.get("choices")
    if choices is not None and value not in choices:
        known = ", ".join(str(choice) for choice in choices)
        raise UserError(f"parameter {label} must be one of {known}, but got {shown(value)}")
    if value is None or isinstance(value, str):
        return
    if isinstance(value, tuple):
        for item in value:
            _check_range(item, metadata, label)
        return
    low, high, below = (metadata.get(key) for key in ("minimum", "maximum", "below"))
    too_low = low is not None and value < low
    too_high = high is not None and value > high or below is not None and value >= below
    if too_low or too_high:
        bounds = f"between {low} and {high}" if high is not None else f"at least {low}"
        bounds += f" and below {below}" if below is not None else ""
        raise UserError(f"parameter {label} must be {bounds}, but got {shown(value)}")
    greatest = GREATEST_WHOLE if isinstance(value, int) else GREATEST_FLOAT
    if abs(value) > greatest:
        raise UserError(
            f"parameter {label} must be at most {greatest:g} in size, but got {shown(value)}"
        )
