"""Check that a method of one's own keeps what every method promises.

Random images go through it on small stand-in backbones; each failure says what was tried, what
was found, and the usual cause.

Examples:
  tta check my_file.py:MyMethod
  tta check my_file.py:MyMethod --set margin=2.0     # so that every part of it runs

Exit status: 0 where all is kept, 1 where something is not, 2 for bad input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tta.commands.cli import Parser, guarded, parse_settings
from tta.foundation.text import printable_lines
from tta.methods import METHODS

if TYPE_CHECKING:
    from tta.testing import Finding

EXIT_BROKEN = 1


@guarded
def main(arguments: Sequence[str] | None, prog: str) -> int:
    """Parse the command line, run the checks, print them, and return the exit status."""
    options = parser(prog).parse_args(arguments)
    METHODS.check(options.method)
    settings = parse_settings(options.set)
    from tta.testing import findings

    by_check: dict[str, list[Finding]] = {}
    for finding in findings(options.method, **settings):
        by_check.setdefault(finding.check.name, []).append(finding)
    for name, found in by_check.items():
        print(printable_lines(_lines(name, found)))
    broken = sum(any(finding.fault for finding in found) for found in by_check.values())
    print(f"{len(by_check) - broken} of {len(by_check)} promises kept")
    return EXIT_BROKEN if broken else 0


def parser(prog: str) -> Parser:
    """Return the parser of this command."""
    made = Parser(prog=prog, description=__doc__)
    made.add_argument("method", help="my_file.py:MyMethod, or a name")
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a hyper-parameter of the method; may be repeated",
    )
    return made


def _lines(name: str, found: list[Finding]) -> str:
    """Return a line of a kept promise, or what is broken, once for equal faults."""
    faults: dict[str, list[str]] = {}
    for finding in found:
        if finding.fault is not None:
            faults.setdefault(finding.fault, []).append(finding.backbone)
    if not faults:
        return f"kept    {name} ({', '.join(finding.backbone for finding in found)})"
    check = found[0].check
    lines = [f"BROKEN  {name}"]
    lines += [f"        {fault} ({', '.join(kinds)})" for fault, kinds in faults.items()]
    lines += [f"        tried: {check.tried}", f"        usual cause: {check.usual_cause}"]
    return "\n".join(lines)
