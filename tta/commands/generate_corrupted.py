"""Write CIFAR-10-C, CIFAR-100-C or ImageNet-C in the official layout, from the clean images.

    python -m tta.generate_corrupted cifar10-c --data-dir /data --output /data
    python -m tta.generate_corrupted imagenet-c --data-dir /data --output /big --workers 8

The clean images are read below --data-dir (default $TTA_DATA_DIR), as for the data sets `...@gen`,
which show the same images without writing them. The folder gets a file generated.json, by which
runs on it are told from runs on the published files. What an interrupted command has finished is
kept: run it again to continue. `imagenet-c` makes RobustBench's 5,000 images of each corruption
and severity, `imagenet-c-full` all 50,000.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tta.commands.cli import EXIT_INTERRUPTED, Parser, guarded

NAMES = ("cifar10-c", "cifar100-c", "imagenet-c", "imagenet-c-full")


@guarded
def main(arguments: Sequence[str] | None, prog: str) -> int:
    """Write what is not there yet and return the exit status."""
    options = parser(prog).parse_args(arguments)
    chosen = options.corruptions.split(",") if options.corruptions else ()
    from tta.datasets.getting.corrupted_files import write_corrupted  # torch

    try:
        print(
            write_corrupted(
                options.name, options.data_dir, Path(options.output), chosen, options.workers
            )
        )
    except KeyboardInterrupt:
        print("\ninterrupted; run this again to continue")
        return EXIT_INTERRUPTED
    return 0


def parser(prog: str) -> Parser:
    """Return the parser of this command."""
    made = Parser(prog=prog, description=__doc__)
    made.add_argument("name", choices=NAMES)
    made.add_argument("--data-dir", metavar="DIR", help="default: $TTA_DATA_DIR")
    made.add_argument("--output", metavar="DIR", required=True, help="a data folder")
    made.add_argument("--corruptions", metavar="A,B", help="default: all 15")
    made.add_argument("--workers", type=int, default=0, metavar="N", help="default: none")
    return made
