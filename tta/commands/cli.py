"""What the commands share: options from the dataclass, one-line errors, exit codes."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from tta.config import RunConfig
from tta.foundation.errors import UserError, message_of
from tta.foundation.options import NUMBERS
from tta.foundation.system import require_posix
from tta.foundation.yaml_files import parse_yaml

EXIT_BAD_INPUT = 2
EXIT_NOT_FINITE = 3
"""A run came to its end, or was stopped, with outputs that were not finite."""
EXIT_INTERRUPTED = 130


def guarded(command: Callable[[Sequence[str] | None, str], int]) -> Callable[..., int]:
    """Wrap a command: bad input ends it with one line on stderr and status 2.

    It is given the program's name, which is ``python -m tta.NAME`` where the caller has no other.
    """
    module = f"python -m tta.{command.__module__.rpartition('.')[2]}"

    def main(arguments: Sequence[str] | None = None, prog: str = module) -> int:
        try:
            require_posix()
            return command(arguments, prog)
        except UserError as error:
            print(f"error: {message_of(error)}", file=sys.stderr)
            return EXIT_BAD_INPUT
        except BrokenPipeError:  # the reader, such as `head`, has seen enough
            sys.stderr.close()
            return 0

    return main


def given_text(text: str) -> str:
    """Return what an argument names; the empty text is refused."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty, as where a shell variable is unset")
    return text


def given_path(text: str) -> Path:
    """Return the path that an argument names; the empty text, which would be ``.``, is refused."""
    return Path(given_text(text))


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are :class:`UserError`, and whose text keeps its lines."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

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
        return {**common, "type": str}  # parsed with the values of YAML and Python
    if hint == NUMBERS:
        return {**common, "type": _numbers}
    readers = {tuple: names, int: _integer, float: float, str: str}
    return {**common, "type": readers[getattr(kinds[0], "__origin__", kinds[0])]}


def names(text: str) -> tuple[str, ...]:
    """Return the names of a list; one that has a comma stands in double quotes.

    An empty name stays, to be refused in the same words as other empty options.
    """
    try:
        rows = list(csv.reader([text], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise UserError(
            f"{text[:100]!r} is no list of names ({error}); write A,B or '\"A, B\",C'"
        ) from error
    return tuple(name.strip() for row in rows for name in row) or ("",)


def _numbers(text: str) -> tuple[float, ...]:
    if not text.strip():
        return ()  # refused as empty, in the same words as other options
    try:
        return tuple(map(float, text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected numbers with commas between, but got {text!r}"
        ) from error


def _integer(text: str) -> int:
    """Return a whole number, which may be written as ``1e3``."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise
        return int(number)


_integer.__name__ = "int"  # argparse names it in "invalid int value"


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
        settings[name.strip()] = parse_yaml(text, f"--set {name}: {text[:100]!r}")
    return settings
