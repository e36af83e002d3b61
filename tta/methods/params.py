"""Hyper-parameters: a frozen dataclass per method, read from text, refused with the cure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from tta.errors import UserError, did_you_mean

P = TypeVar("P")


def param(
    default: Any,
    help: str,
    *,
    unit: str = "",
    choices: tuple[Any, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """Declare one hyper-parameter of a ``Params`` dataclass."""
    metadata = {
        "help": help,
        "unit": unit,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class OptimizerParams:
    """What every method with an optimiser lets its user choose."""

    optimizer: str = param("adam", "optimiser", choices=("adam", "sgd"))
    lr: float = param(1e-3, "learning rate", minimum=0.0)
    momentum: float = param(0.9, "momentum (SGD) or beta1 (Adam)", minimum=0.0, maximum=1.0)
    nesterov: bool = param(True, "Nesterov momentum (SGD)")
    weight_decay: float = param(0.0, "weight decay", minimum=0.0)


def build_params(params_class: type[P], values: Mapping[str, Any], method: str) -> P:
    """Return ``params_class`` with ``values`` over its defaults.

    Raises:
        UserError: an unknown name, a value of another type, or one out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(params_class)}  # type: ignore[arg-type]
    hints = get_type_hints(params_class)
    checked = {}
    for name, value in values.items():
        if name not in fields:
            hint = did_you_mean(name, fields) if fields else "it has none"
            raise UserError(f"method {method!r} has no parameter {name!r}; {hint}")
        converted = _convert(value, hints[name], f"{method}.{name}")
        _check_range(converted, fields[name].metadata, f"{method}.{name}")
        checked[name] = converted
    return params_class(**checked)


def _convert(value: Any, hint: Any, label: str) -> Any:
    if get_origin(hint) is tuple:
        return _convert_list(value, get_args(hint)[0], label)
    types = get_args(hint) or (hint,)
    if value is None and type(None) in types:
        return None
    for kind in types:
        if get_origin(kind) is tuple:
            return _convert(value, kind, label)
    if isinstance(value, bool) and bool in types:
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if float in types:
            return float(value)
        if int in types and value == int(value):
            return int(value)
    if isinstance(value, str):
        return _convert_text(value, types, label)
    names = " or ".join(getattr(kind, "__name__", str(kind)) for kind in types)
    raise UserError(f"parameter {label} must be {names}, but got {value!r}")


def _convert_list(value: Any, kind: Any, label: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise UserError(f"parameter {label} must be a list such as [0.1, 0.5], but got {value!r}")
    return tuple(_convert(item, kind, label) for item in value)


def _convert_text(value: str, types: tuple[Any, ...], label: str) -> Any:
    # YAML 1.1 reads "1e-3" as text, so numbers are tried here too.
    if str in types:
        return value
    if float in types or int in types:
        try:
            return _convert(float(value), types[0] if len(types) == 1 else float | None, label)
        except ValueError:
            pass
    names = " or ".join(getattr(kind, "__name__", str(kind)) for kind in types)
    raise UserError(f"parameter {label} must be {names}, but got {value!r}")


def _check_range(value: Any, metadata: Mapping[str, Any], label: str) -> None:
    choices, low, high = (metadata.get(key) for key in ("choices", "minimum", "maximum"))
    if choices is not None and value not in choices:
        known = ", ".join(str(choice) for choice in choices)
        raise UserError(f"parameter {label} must be one of {known}, but got {value!r}")
    if value is None or isinstance(value, str):
        return
    if isinstance(value, tuple):
        for item in value:
            _check_range(item, metadata, label)
        return
    if low is not None and value < low or high is not None and value > high:
        bounds = f"between {low} and {high}" if high is not None else f"at least {low}"
        raise UserError(f"parameter {label} must be {bounds}, but got {value!r}")
