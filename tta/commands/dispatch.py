"""The command ``tta``: its help, and the way to each command."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from textwrap import wrap

import tta
from tta.commands import COMMANDS, module_of
from tta.commands.cli import Parser, guarded
from tta.foundation.errors import UserError, did_you_mean
from tta.foundation.terminal import columns


def parser(prog: str) -> Parser:
    """Return the parser of what stands before the command."""
    listed = "\n".join(columns([(f"  {name}", line) for name, line in COMMANDS.items()], 80))
    made = Parser(
        prog=prog,
        usage=f"{prog} COMMAND [OPTIONS]",
        description="\n".join(wrap((tta.__doc__ or "").partition("\n")[0], 80)),
        epilog=f"commands:\n{listed}\n\n`{prog} COMMAND --help` tells of each.",
    )
    made.add_argument("--version", action="version", version=f"tta {tta.__version__}")
    return made


@guarded
def dispatch(arguments: Sequence[str], prog: str) -> int:
    """Do what a command says, and return the exit status; without one, print the help.

    Args:
        arguments: the command and its own arguments.
        prog: what the program is called.
    """
    if not arguments:
        parser(prog).print_help()
        return 0
    command, *rest = arguments
    if command.startswith("-"):
        parser(prog).parse_args([command])  # prints what is asked for and exits, or raises
    if command not in COMMANDS:
        raise UserError(f"unknown command {command!r}; {did_you_mean(command, COMMANDS)}")
    return import_module(module_of(command)).main(rest, f"{prog} {command}")
