"""Where the time of a step goes, by kind of operator; on one thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from tta.backbones.backbone import Backbone
from tta.foundation.errors import UserError
from tta.methods import Method

from .measure import Target, interleave, ratio
from .subjects import Subject, subject

NETS = (("cifar_resnet20", 200), ("cifar_resnet20", 64), ("resnet18", 8))
METHODS = ("rmt", "santa", "cotta", "rotta", "petta", "note", "adacontrast", "roid")
PARAMS: dict[str, dict[str, Any]] = {
    "note": {"convert_batch_norm": True},
    "cotta": {"views": 1},
}
"""CoTTA's many views are all alike; one shows where their time goes."""
BANKS, BATCH, BOUND = ("rotta", "petta", "note"), 64, 4.0
KINDS = (
    ("convolution backward", ("convolution_backward",)),
    ("convolution", ("conv",)),
    ("batch norm", ("batch_norm", "BatchNorm", "ImagewiseAffine")),
    ("activation", ("relu", "clamp_min", "threshold")),
    ("optimiser, averages", ("Optimizer", "_foreach", "_fused")),
)
"""Kinds by parts of an operator's name; the first that fits."""
REST = "other"
HEADER = ["step", "x source", *(kind for kind, _ in KINDS), REST]
Row = list[str]


def kind_of(operator: str) -> str:
    """Return the kind of an operator's time."""
    return next((kind for kind, parts in KINDS if any(map(operator.count, parts))), REST)


def shares(call: Callable[[], object], steps: int = 2) -> dict[str, float]:
    """Return the share of each kind in the CPU time of ``call``, after two calls that warm up."""
    for _ in range(2):
        call()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            call()
    spent: Counter[str] = Counter()
    for event in profiler.key_averages():
        spent[kind_of(event.key)] += event.self_cpu_time_total
    return {kind: spent[kind] / spent.total() for kind in HEADER[2:]}


@torch.no_grad()
def spread_predictions(backbone: Backbone, images: torch.Tensor) -> None:
    """Let predictions be of many classes: a random network has one, and a bank stays empty."""
    backbone.classifier.bias -= backbone(images).mean(0)


def profiled() -> tuple[list[Row], list[Target]]:
    """Return lines and targets: every method on every network."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows: list[Row] = []
    targets: list[Target] = []
    for name, batch in NETS:
        case = subject(name, batch)
        spread_predictions(case.backbone, case.images)
        ratios, found = _measured(case, METHODS)
        rows += [_row(case, method, ratios[method], found[method]) for method in found]
        if (name, batch) == (NETS[0][0], BATCH):
            targets += [_target(case, method, ratios[method]) for method in BANKS]
    torch.set_num_threads(threads)
    return rows, targets


def _measured(
    case: Subject, names: tuple[str, ...]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Return what steps take, relative to the source's forward, and the shares of each."""
    calls: dict[str, Callable[[], object]] = {"source": _step(case.method("source"), case)}
    for name in names:
        try:
            calls[name] = _step(case.method(name, **PARAMS.get(name, {})), case)
        except UserError:  # it needs something that the network does not have
            continue
    found = {name: shares(call) for name, call in calls.items()}
    samples = interleave(calls, rounds=3, seconds=40.0)
    return {name: ratio(samples, name, "source") for name in calls}, found


def _step(method: Method, case: Subject) -> Callable[[], object]:
    return lambda: method.step(case.images)


def _row(case: Subject, method: str, relative: float, found: dict[str, float]) -> Row:
    percents = [f"{100 * share:.0f} %" for share in found.values()]
    return [f"{method}, {case.title}", f"{relative:.2f}", *percents]


def _target(case: Subject, method: str, relative: float) -> Target:
    return Target(f"{method} step / source forward, {case.title}, bank full", BOUND, relative)
