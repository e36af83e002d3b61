"""The tables of results/: methods by domains, on streams that every method shares.

    TTA_TEST_ASSETS=/path/to/data python benchmarks/tables.py [--workers N] [FILE ...]

writes results/FILE.md, or all of them. Runs are kept below results/runs, so an interrupted command
continues. Digits come with the package; tables of other data are left out, with a note, where
$TTA_TEST_ASSETS is not set. Each worker is a process with its share of the cores.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import zipfile
from pathlib import Path

from comparisons.data import RESULTS, SAMPLE
from comparisons.files import HEADINGS, TABLES
from comparisons.table import Table
from tqdm import tqdm

from tta.config import RunConfig
from tta.foundation.cores import core_count
from tta.foundation.files import write_atomically
from tta.reporting.records.runs import Run
from tta.sweeps.local import run_locally

TIMES = (
    "Times are of {workers} run(s) at a time on {cores} cores, and of whole streams: where "
    "corruptions are made as the stream goes, making them is a part. A process makes one run after "
    "another, and the later ones find memory at hand that the earlier ones have freed: a quarter "
    "of source's time, or a few hundred MiB on large images, tells no methods apart. Every "
    "method's step by itself, on three networks, is in results/speed.md."
)


def main() -> int:
    """Make the tables that are asked for and write them; return 1 where a run failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"of {', '.join(TABLES)}")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="runs at a time")
    options = parser.parse_args()
    names = options.files or list(TABLES)
    if unknown := set(names) - set(TABLES):
        parser.error(f"no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    assets = os.environ.get("TTA_TEST_ASSETS", "")
    failures = 0
    for name in names:
        chosen = [table for table in TABLES[name] if assets or not table.needs_assets]
        if len(chosen) < len(TABLES[name]):
            print(f"{name}: TTA_TEST_ASSETS is not set, digits alone", file=sys.stderr)
        if chosen:
            failures += make(name, chosen, assets, options.workers)
    return 1 if failures else 0


def unpack_sample(folder: Path) -> None:
    """Lay ImageNet images out in class folders."""
    with zipfile.ZipFile(folder / "images.zip") as archive:
        for row in csv.DictReader((folder / "labels.csv").read_text().splitlines()):
            file = SAMPLE / row["wnid"] / row["file"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(archive.read(row["file"]))


def make(name: str, chosen: list[Table], assets: str, workers: int) -> int:
    """Run what has not been run, and write results/NAME.md unless a run failed; count those."""
    if name == "imagenet_sample":
        unpack_sample(Path(assets, "data", "imagenet-sample"))
    cells = [cell for table in chosen for cell in table.cells(assets)]
    progress = tqdm(run_locally(cells, workers), desc=name, total=len(cells))
    outcomes = {outcome.cell.name: outcome for outcome in progress}
    failed = [outcome for outcome in outcomes.values() if outcome.finished is None]
    for outcome in failed:
        print(f"{outcome.cell.name}: {outcome.error}", file=sys.stderr)
    if failed:
        return len(failed)
    head = f"# {HEADINGS[name]}\n\n`python benchmarks/tables.py {name} --workers {workers}`\n\n"
    if not all(table.compact for table in chosen):
        head += TIMES.format(workers=workers, cores=core_count())
    sections = []
    for table in chosen:
        finished = [outcomes[cell.name].finished for cell in table.cells(assets)]
        runs = [Run.load(Path(RunConfig().output, found.path)) for found in finished]
        sections.append(table.render(runs, assets))
    write_atomically(RESULTS / f"{name}.md", "\n\n".join([head, *sections]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
