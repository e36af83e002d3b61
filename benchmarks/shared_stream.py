"""Several methods on one stream beside as many runs: CPU time and wall time, interleaved.

    python benchmarks/shared_stream.py --methods tent,rmt,roid --domains fog,contrast \
        --num-samples 64 --device cpu

Options are those of `python -m tta.run`. Each round makes the runs in one process, together and
one by one, in turns; printed are medians of the ratios, and records must be equal to the byte.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from tta.commands.cli import add_config_options, names
from tta.commands.several import configs_of
from tta.config import RunConfig
from tta.experiment import run
from tta.experiment.together import run_together

RECORDS = ("batches.csv", "domains.csv", "samples.npz")
AT_MOST = 0.75


def main() -> int:
    """Measure, print, and return 1 where the target is missed or records differ."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", type=names, required=True)
    add_config_options(parser)
    options = vars(parser.parse_args())
    rounds = options.pop("rounds")
    ratios = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            values = {**options, "no_cache": True}
            sides = [
                (_together, configs_of({**values, "output": f"{folder}/together"}, "options")[0]),
                (_apart, configs_of({**values, "output": f"{folder}/apart"}, "options")[0]),
            ]
            spent = dict(_timed(*side) for side in (sides if number % 2 else sides[::-1]))
            equal = _records(Path(folder, "together")) == _records(Path(folder, "apart"))
        pairs = zip(spent["_together"], spent["_apart"], strict=True)
        ratios.append([shared / alone for shared, alone in pairs])
        print(f"round {number + 1}: {spent}, ratios {ratios[-1]}, equal {equal}", flush=True)
        if not equal:
            return 1
    cpu, wall = (median(column) for column in zip(*ratios, strict=True))
    print(f"together / one after another: CPU {cpu:.2f}, wall {wall:.2f} (at most {AT_MOST})")
    return int(cpu > AT_MOST)


def _together(configs: Sequence[RunConfig]) -> None:
    for _, end in run_together(configs):
        if isinstance(end, Exception):
            raise end


def _apart(configs: Sequence[RunConfig]) -> None:
    for config in configs:
        run(config)


def _timed(
    act: Callable[[Sequence[RunConfig]], None], configs: Sequence[RunConfig]
) -> tuple[str, tuple[float, float]]:
    cpu, wall = time.process_time(), time.perf_counter()
    act(configs)
    return act.__name__, (time.process_time() - cpu, time.perf_counter() - wall)


def _records(folder: Path) -> dict[str, bytes]:
    found = [file for file in sorted(folder.rglob("*")) if file.name in RECORDS]
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


if __name__ == "__main__":
    raise SystemExit(main())
