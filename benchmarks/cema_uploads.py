r"""Do CEMA's exclusion rules earn their place? All uploads, the rules, and random subsets.

    python benchmarks/cema_uploads.py --dataset arrays:STREAM.npz --backbone cifar_resnet20 \
        --weights EDGE.th --cloud-backbone cifar_resnet56 --cloud-weights CLOUD.safetensors \
        --preset cifar10-c --scenario recorded --batch-size 64 --contiguous-batches

writes results/cema_uploads.md. A random subset has exactly as many images as the rules upload.
"""

from __future__ import annotations

import dataclasses
import shlex
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tta.commands.cli import Parser, add_config_options, guarded
from tta.config import RunConfig
from tta.experiment import Experiment, build
from tta.experiment.figures import figures
from tta.experiment.observing.recorder import Recorder
from tta.foundation.files import write_atomically
from tta.methods import Method
from tta.methods.cema import CloudEdgeModelAdaptation
from tta.reporting.tables import markdown, percent
from tta.streams.loop import evaluate

OUTPUT = Path("results/cema_uploads.md")
SEEDS = (1, 2, 3)
EVERYTHING = {"exclude_unreliable": False, "low_margin": None, "redundancy_margin": None}


class RandomUploads(CloudEdgeModelAdaptation):
    """CEMA that uploads a random subset of the stream, whatever the edge thinks of it."""

    chosen: Tensor

    def worth_uploading(self, logits: Tensor) -> Tensor:
        kept = self.chosen[self.seen : self.seen + len(logits)]
        self.seen += len(logits)
        return kept


def random_uploads(experiment: Experiment, count: int, seed: int) -> RandomUploads:
    """Return the method with ``count`` images of the stream chosen at random."""
    method = RandomUploads(experiment.backbone.clone(), experiment.params, seed=seed)
    method.attach_model(experiment.cloud.clone())
    order = torch.randperm(len(experiment.plan), generator=torch.Generator().manual_seed(seed))
    method.chosen = torch.zeros(len(order), dtype=torch.bool).index_fill_(0, order[:count], True)
    method.chosen = method.chosen.to(experiment.device)
    return method


def measure(experiment: Experiment, method: Method) -> dict[str, Any]:
    """Return the figures of one pass over the stream."""
    method.start(experiment.source)
    labels = experiment.stream.labels()
    recorder = Recorder(experiment.plan, labels, method.outputs, method.counters, experiment.device)
    evaluate(method, experiment.stream, recorder)
    recorder.close()
    found = figures(recorder.domains(), method.counters)
    print(method.name, percent(found["mean_error"]), found["counters"], file=sys.stderr)
    return found


def build_with(config: RunConfig, method: str, **settings: Any) -> Experiment:
    """Return the experiment of ``config`` with another method or other hyper-parameters."""
    preset = config.preset if method == "cema" else "defaults"
    changed = {"method": method, "preset": preset, "set": {**config.set, **settings}}
    return build(dataclasses.replace(config, **changed))


def report(command: str, rows: dict[str, list[dict[str, Any]]]) -> str:
    """Return the table and what it says about the rules."""
    table = [[name, *_cells(found)] for name, found in rows.items()]
    header = ["uploads", "mean error %", "uploaded", "upload %", "refreshes"]
    return "\n\n".join(
        [f"    {command}", markdown(header, table), _verdict(*list(rows.values())[1:])]
    )


def _cells(found: list[dict[str, Any]]) -> list[str]:
    errors = [run["mean_error"] for run in found]
    error = percent(statistics.fmean(errors))
    if len(errors) > 1:
        error += f" ± {percent(statistics.stdev(errors))}"
    counters = found[0]["counters"]
    if not counters:
        return [error, "0", percent(0.0), "0"]
    shown = [str(counters["uploads"]), percent(found[0]["upload_fraction"])]
    return [error, *shown, str(counters["refreshes"])]


def _verdict(*groups: list[dict[str, Any]]) -> str:
    rules, chance, everything = ([100 * run["mean_error"] for run in found] for found in groups)
    gain, spread = statistics.fmean(chance) - rules[0], statistics.stdev(chance)
    if abs(gain) <= 2 * spread:
        judgement = "are no better and no worse than chance"
    else:
        judgement = "earn their place" if gain > 0 else "do not earn their place"
    return (
        f"At equal uploads the rules {judgement}: {gain:+.2f} points of mean error gained on a "
        f"random subset, whose seeds spread by {spread:.2f} (standard deviation). Against "
        f"uploading everything they give {everything[0] - rules[0]:+.2f} points, at "
        f"{percent(groups[0][0]['upload_fraction'])} % of its uploads."
    )


@guarded
def main(arguments: list[str] | None = None) -> int:
    """Run every row and write the table."""
    parser = Parser(description=__doc__)
    add_config_options(parser)
    options = vars(parser.parse_args(arguments))
    config = RunConfig.from_mapping(options, "the command line")
    still, rules = build_with(config, "bn"), build_with(config, "cema")
    everything = build_with(config, "cema", **EVERYTHING)
    by_rule = measure(rules, rules.method)
    count = by_rule["counters"]["uploads"]
    by_chance = [measure(rules, random_uploads(rules, count, seed)) for seed in SEEDS]
    rows = {
        "none (bn)": [measure(still, still.method)],
        "exclusion rules": [by_rule],
        "random subset": by_chance,
        "all": [measure(everything, everything.method)],
    }
    command = shlex.join(["python", "benchmarks/cema_uploads.py", *_shown(sys.argv[1:])])
    write_atomically(OUTPUT, report(command, rows) + "\n")
    return 0


def _shown(arguments: list[str]) -> list[str]:
    """Return the arguments with the folders of files left out: those differ by machine."""
    kinds = (part.rpartition(":") for part in arguments)
    return [f"{kind}{colon}{Path(path).name}" for kind, colon, path in kinds]


if __name__ == "__main__":
    raise SystemExit(main())
