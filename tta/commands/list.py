"""List what can be chosen: a name and a line each, or with --long all that is known.

Examples:
  tta list                              # how many there are of each kind
  tta list methods
  tta list backbones 'resnet50*'
  tta list datasets 'imagenet*' --long
"""

from __future__ import annotations

from collections.abc import Sequence

from tta.commands.cli import Parser, guarded
from tta.commands.listing import KINDS, list_width, listing
from tta.foundation.terminal import columns


@guarded
def main(arguments: Sequence[str] | None, prog: str) -> int:
    """Print a list, or what lists there are, and return the exit status."""
    options = parser(prog).parse_args(arguments)
    if options.kind is None:
        counts = [(name, str(len(kind.names()))) for name, kind in KINDS.items()]
        print("\n".join(columns([(*row, f"{prog} {row[0]}") for row in counts], list_width())))
        print("\nA pattern such as 'imagenet*' picks names, --long tells all that is known.")
        return 0
    lines = listing(options.kind, options.pattern, long=options.long, width=list_width())
    print("\n".join(lines))
    return 0


def parser(prog: str) -> Parser:
    """Return the parser of this command."""
    made = Parser(prog=prog, description=__doc__)
    made.add_argument("kind", nargs="?", choices=KINDS, help="what to list; default: the counts")
    made.add_argument(
        "pattern", nargs="?", default="*", metavar="PATTERN", help="names, with * and ? and [abc]"
    )
    made.add_argument("--long", action="store_true", help="tell all that is known of each")
    return made
