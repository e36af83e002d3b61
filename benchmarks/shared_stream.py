"""Several methods on one stream beside as many runs: CPU time and wall time, interleaved.

    python benchmarks/shared_stream.py --methods tent,rmt,roid --domains fog,contrast \
        --num-samples 64 --device cpu

Options are those of `python -m tta.run`, without `--set`. Each round makes the runs in one process,
together and one by one, in turns, after one that counts for nothing; with `--commands` as they are
typed, each in a process of its own, and one for all. Printed are medians of the ratios, and records
must be equal to the byte. What sharing saves in one process is making images and loading the model,
twice; commands save starting as well.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from tta.commands.cli import add_config_options, names
from tta.commands.several import configs_of
from tta.config import RunConfig
from tta.experiment import run
from tta.experiment.together import run_together

RECORDS = ("batches.csv", "domains.csv", "samples.npz")
AT_MOST = 0.75
Seconds = tuple[float, float]
"""Of CPU, and by the clock."""


Side = Callable[[Sequence[RunConfig]], None]


def main() -> int:
    """Measure, print, and return 1 where the target is missed or records differ."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--commands", action="store_true", help="each run a command of its own")
    parser.add_argument("--methods", type=names, required=True)
    add_config_options(parser)
    options = vars(parser.parse_args())
    rounds, commands = options.pop("rounds"), options.pop("commands")
    sides = (_command, _commands) if commands else (_together, _apart)
    ratios = []
    for number in range(commands, rounds + 1):
        found = _round(sides[:: (-1) ** number], options)
        if found is None:
            print("records differ")
            return 1
        (cpu, wall), (cpu_apart, wall_apart) = (found[side.__name__] for side in sides)
        print(f"{number}: CPU {cpu:.1f} s, {cpu_apart:.1f}; wall {wall:.1f}, {wall_apart:.1f}")
        ratios += [(cpu / cpu_apart, wall / wall_apart)] if number else []
    cpu, wall = (median(column) for column in zip(*ratios, strict=True))
    print(f"together / one after another: CPU {cpu:.2f}, wall {wall:.2f} (at most {AT_MOST})")
    return int(cpu > AT_MOST)


def _round(sides: Sequence[Side], options: dict[str, Any]) -> dict[str, Seconds] | None:
    """Return what each side took, or None where their records differ."""
    with tempfile.TemporaryDirectory() as folder:
        spent = {}
        for side in sides:
            output = str(Path(folder, side.__name__))
            configs, _ = configs_of({**options, "no_cache": True, "output": output}, "options")
            spent[side.__name__] = _timed(side, configs)
        first, second = (_records(Path(folder, side.__name__)) for side in sides)
    return spent if first == second else None


def _together(configs: Sequence[RunConfig]) -> None:
    for _, end in run_together(configs):
        if isinstance(end, Exception):
            raise end


def _apart(configs: Sequence[RunConfig]) -> None:
    for config in configs:
        run(config)


def _command(configs: Sequence[RunConfig]) -> None:
    _call(configs[0], "--methods", ",".join(config.method for config in configs))


def _commands(configs: Sequence[RunConfig]) -> None:
    for config in configs:
        _call(config, "--method", config.method)


def _call(config: RunConfig, *methods: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        values = config.to_mapping()
        del values["method"], values["set"]
        yaml.safe_dump(values, file)
        file.flush()
        line = [sys.executable, "-m", "tta.run", "--config", file.name, *methods, "--json"]
        subprocess.run(line, check=True, capture_output=True)


def _timed(act: Side, configs: Sequence[RunConfig]) -> Seconds:
    cpu, wall = sum(os.times()[:4]), time.perf_counter()
    act(configs)
    return sum(os.times()[:4]) - cpu, time.perf_counter() - wall


def _records(folder: Path) -> dict[str, bytes]:
    found = [file for file in sorted(folder.rglob("*")) if file.name in RECORDS]
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


if __name__ == "__main__":
    raise SystemExit(main())
