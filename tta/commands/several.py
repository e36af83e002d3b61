"""Several methods on one stream: what is asked of each, and how each has ended."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tta.commands.cli import EXIT_BAD_INPUT
from tta.commands.ending import in_user_words, print_notes, say_what_is_odd, show, stopped
from tta.config import RunConfig
from tta.foundation.errors import UserError, did_you_mean, message_of
from tta.foundation.stops import listening
from tta.foundation.text import printable

if TYPE_CHECKING:
    from tta.experiment.built import Experiment

MUTUAL = {"method": "methods", "methods": "method"}
"""Options that take each other's place."""
EXIT_FAULT = 1


def check_one_of_both(values: Mapping[str, Any], origin: str) -> None:
    """Refuse one method and a list of them in one place.

    Raises:
        UserError: both are there.
    """
    if MUTUAL.keys() <= values.keys():
        raise UserError(f"{origin} has method and methods: give one of them")


def configs_of(values: Mapping[str, Any], origin: str) -> tuple[list[RunConfig], bool]:
    """Return the configuration of each method that is asked for, and whether it was in a list.

    Args:
        values: fields of :class:`RunConfig`; ``methods``, a list of names, in place of ``method``,
            and then ``METHOD.NAME`` for the names in ``set``.
        origin: where they come from, for messages.

    Raises:
        UserError: an unknown option, a method twice, or a hyper-parameter of no method.
    """
    if "methods" not in values:
        return [RunConfig.from_mapping(values, origin)], False
    methods, shared = _methods(values["methods"], origin), dict(values)
    del shared["methods"]
    settings = _by_method(shared.pop("set", None) or {}, methods, origin)
    options = [{**shared, "method": method, "set": settings[method]} for method in methods]
    return [RunConfig.from_mapping(one, origin) for one in options], True


def _methods(given: Any, origin: str) -> list[str]:
    methods = list(given) if isinstance(given, list | tuple) else [given]
    if not methods or not all(isinstance(name, str) and name for name in methods):
        raise UserError(f"{origin}: methods must be names such as tent,rmt, but got {given!r}")
    for name in methods:
        if methods.count(name) > 1:
            raise UserError(
                f"{origin}: methods has {name!r} twice; for one method with several "
                "hyper-parameters see python -m tta.sweep --help"
            )
    return methods


def _by_method(settings: Any, methods: Sequence[str], origin: str) -> dict[str, dict[str, Any]]:
    """Return the hyper-parameters of each method by their own names."""
    found: dict[str, dict[str, Any]] = {method: {} for method in methods}
    if not isinstance(settings, Mapping):
        raise UserError(f"{origin}: set must be a mapping of names to values")
    for name, value in settings.items():
        owner, dot, parameter = name.rpartition(".")
        if not dot:
            raise UserError(
                f"{origin}: set has {name!r}, and there are several methods: say whose it is, "
                f"such as {methods[0]}.{name}"
            )
        if owner not in found:
            raise UserError(
                f"{origin}: set has {name!r}, but {owner!r} is none of the methods; "
                f"{did_you_mean(owner, methods)}"
            )
        found[owner][parameter] = value
    return found


def run_several(configs: Sequence[RunConfig], as_json: bool, quiet: bool, width: int | None) -> int:
    """Run all configurations, print how each has ended, and return the exit status."""
    experiments: list[Experiment] = []
    ends: dict[int, dict[str, Any] | Exception] = {}

    def begin(together: Sequence[Experiment]) -> None:
        experiments[:] = together
        print_notes(together, quiet)
        if not quiet and len(together) < len(configs):
            names = ", ".join(one.method.name for one in together)
            print(printable(f"in this pass over the stream: {names}"), file=sys.stderr)

    with listening() as stops:
        try:
            from tta.experiment.together import run_together

            for number, end in run_together(configs, not quiet, stops, shown=begin):
                ends[number] = end
        except KeyboardInterrupt as stop:
            stops.end()
            for number, end in ends.items():
                if isinstance(end, Exception):
                    _tell(configs[number], in_user_words(end))
            ended = {configs[number].method for number in ends}
            left = [one for one in experiments if one.config.method not in ended]
            return stopped(stop, left or experiments)
    return _conclude(configs, [ends[number] for number in range(len(configs))], as_json, width)


def _conclude(
    configs: Sequence[RunConfig],
    ends: Sequence[dict[str, Any] | Exception],
    as_json: bool,
    width: int | None,
) -> int:
    if isinstance(ends[0], Exception) and all(end is ends[0] for end in ends):
        raise in_user_words(ends[0])  # of what they share
    summaries = [end for end in ends if not isinstance(end, Exception)]
    if as_json:
        print(json.dumps(summaries, indent=2))
    statuses = {0}
    for config, end in zip(configs, ends, strict=True):
        if isinstance(end, Exception):
            statuses.add(_tell(config, in_user_words(end)))
        elif as_json:
            statuses.add(say_what_is_odd(end, as_json))
        else:
            statuses.add(show(end, config.metric, as_json, width))
    return min(statuses - {0}, default=0)


def _tell(config: RunConfig, error: Exception) -> int:
    """Print why a run has failed, and return the exit status that it calls for."""
    if isinstance(error, UserError):
        print(printable(f"error: {config.method}: {message_of(error)}"), file=sys.stderr)
        return EXIT_BAD_INPUT
    print(printable(f"error: {config.method}:"), file=sys.stderr)
    traceback.print_exception(error)
    return EXIT_FAULT
