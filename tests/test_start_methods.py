"""A run whose loading processes start otherwise than by fork has the same records."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import multiprocessing, sys
from tta.commands.run import main
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    raise SystemExit(main(sys.argv[2:]))
"""
OPTIONS = "--method rmt --domains pixelate,fog --num-samples 20 --batch-size 10 --no-cache --quiet"


@pytest.mark.slow
def test_records_are_the_same_however_processes_start(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    records = []
    for number, method in enumerate(("fork", "fork", "forkserver", "spawn")):
        output = tmp_path / str(number)
        workers = str(2 * min(number, 1))
        subprocess.run(
            [sys.executable, str(tmp_path / "program.py"), method, *OPTIONS.split()]
            + ["--set", "warm_up_samples=20", "--workers", workers, "--output", str(output)],
            check=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        names = ("batches.csv", "domains.csv")
        records.append([next(output.rglob(name)).read_bytes() for name in names])
    assert records[1:] == records[:1] * 3
