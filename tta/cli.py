"""What the commands share: options from the dataclass, one-line errors, exit codes."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any, get_args, get_type_hints

import yaml

from tta.config import RunConfig
from tta.errors import UserError

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def guarded(command: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Wrap a command: bad input ends it with one line on stderr and status 2."""

    def main(arguments: Sequence[str] | None = None) -> int:
        try:
            return command(arguments)
        except UserError as error:
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            return EXIT_BAD_INPUT
        except BrokenPipeError:  # the reader, such as `head`, has seen enough
            sys.stderr.close()
            return 0

    return main


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are :class:`UserError`."""

    def error(self, message: str) -> Any:
        raise UserError(f"{message}; see {self.prog} --help")


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add one flag per field of :class:`RunConfig`; flags that are not given stay unset."""
    hints = get_type_hints(RunConfig)
    groups: dict[str, Any] = {}
    for field in dataclasses.fields(RunConfig):
        name = field.metadata["group"]
        group = groups.setdefault(name, None) or parser.add_argument_group(name)
        groups[name] = group
        group.add_argument(
            "--" + field.name.replace("_", "-"), **_argument(field, hints[field.name])
        )


def _argument(field: dataclasses.Field, hint: Any) -> dict[str, Any]:
    metadata = field.metadata
    shown = f" (default: {field.default})" if field.default not in (None, False) else ""
    if field.default is dataclasses.MISSING:
        shown = ""
    common = {"help": metadata["help"] + shown, "default": argparse.SUPPRESS, "dest": field.name}
    if hint is bool:
        return {**common, "action": "store_true"}
    if hint == dict[str, Any]:
        return {**common, "action": "append", "metavar": metadata["metavar"]}
    metavar = None if metadata["choices"] else metadata["metavar"] or field.name.upper()
    common["metavar"] = metavar or "{" + ",".join(metadata["choices"]) + "}"
    kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)]
    if metadata["parse"]:
        return {**common, "type": metadata["parse"]}
    if field.name == "domains":
        return {**common, "type": _names}
    return {**common, "type": kinds[0]}


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Return ``name=value`` pairs as a mapping; values are read as YAML scalars.

    Raises:
        UserError: a pair without ``=`` or a value that is not YAML.
    """
    settings = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise UserError(f"--set takes NAME=VALUE, but got {pair!r}")
        try:
            settings[name.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"--set {name}: {text!r} is not a plain value") from error
    return settings
