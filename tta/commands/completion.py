"""Print a script by which a shell completes commands, options, names and files.

Examples:
  tta completion bash >> ~/.bashrc
  tta completion zsh > ~/.zfunc/_tta      # a folder of $fpath
  tta completion tcsh >> ~/.tcshrc

The names are those of this installation; print the script again where methods, data sets or
scenarios have been added. It needs the package shtab: pip install 'tta-harness[completion]'.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from types import ModuleType

from tta.commands import COMMANDS, dispatch, module_of
from tta.commands.cli import Parser, given_path, given_text, guarded
from tta.config import RunConfig
from tta.datasets import DATASETS
from tta.datasets.getting.sources import SOURCES
from tta.foundation.devices import DEVICES
from tta.foundation.errors import UserError
from tta.methods import METHODS
from tta.presets import preset_names
from tta.streams import SCENARIOS
from tta.sweeps.publications import table_names

SHELLS = ("bash", "zsh", "tcsh")
NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "method": lambda: METHODS,
    "methods": lambda: METHODS,
    "dataset": lambda: DATASETS,
    "device": lambda: DEVICES,
    "source": lambda: DATASETS,
    "scenario": lambda: SCENARIOS,
    "preset": lambda: ["auto", "defaults", *preset_names()],
    "names": lambda: ["verify", *SOURCES],
    "tables": table_names,
}
"""What may be given for an option or argument, by its name, where its parser leaves that open."""

CHOICES = {
    field.name: field.metadata["choices"]
    for field in dataclasses.fields(RunConfig)
    if field.metadata["choices"]
}
"""The same for what the configuration checks, not the parser."""


@guarded
def main(arguments: Sequence[str] | None, prog: str) -> int:
    """Print the script and return the exit status."""
    options = parser(prog).parse_args(arguments)
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise UserError(
            "completion needs the package shtab; install it: pip install 'tta-harness[completion]'"
        ) from error
    print(shtab.complete(_whole(shtab), options.shell))
    return 0


def parser(prog: str) -> Parser:
    """Return the parser of this command."""
    made = Parser(prog=prog, description=__doc__)
    made.add_argument("shell", choices=SHELLS, help="whose script to print")
    return made


def _whole(shtab: ModuleType) -> Parser:
    """Return a parser of all commands; it is not for parsing, as what it lists is not all."""
    whole = dispatch.parser("tta")
    commands = whole.add_subparsers()
    for name, line in COMMANDS.items():
        own = import_module(module_of(name)).parser(f"tta {name}")
        for action in own._actions:
            _tell(action, shtab)
        commands.add_parser(name, parents=[own], add_help=False, help=line, description=line)
    return whole


def _tell(action: argparse.Action, shtab: ModuleType) -> None:
    """Say what an option or argument may be."""
    if action.metavar == "DIR":
        action.complete = shtab.DIRECTORY
    elif action.metavar == "FILE" or action.type in (given_path, given_text):
        action.complete = shtab.FILE
    elif action.dest in NAMES:
        action.choices = list(NAMES[action.dest]())
    elif action.dest in CHOICES:
        action.choices = list(CHOICES[action.dest])
    elif action.choices:
        action.choices = list(action.choices)  # a mapping would be taken for commands
