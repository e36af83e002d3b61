"""The command ``tta``, which is also ``python -m tta``."""

import sys
from typing import NoReturn

from tta.commands.dispatch import dispatch
from tta.foundation.stops import leave


def main(prog: str = "tta") -> NoReturn:
    """Do what the command line says, and end the program with its exit status."""
    leave(dispatch(sys.argv[1:], prog))


if __name__ == "__main__":
    main("python -m tta")
