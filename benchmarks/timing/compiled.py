"""Compiled and folded networks beside those as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from statistics import median

import torch

from tta.backbones.compilation import Compilation, choose_compilation
from tta.backbones.folding import folded
from tta.foundation.errors import UserError

from .measure import Samples, Target, interleave, ratio
from .subjects import Subject, subject

HEADER = ["network", "what", "ms", "relative to", "ratio"]
NETS = (("cifar_resnet20", 200, 0.92), ("resnet50", 16, 0.88))
"""Name, batch size, the most of bn_alpha's compiled forward relative to an evaluation forward."""
STEPS = ("tent", "eata", "sar", "roid", "deyo")
STEP_AT_MOST = 0.82
"""Of a compiled step relative to the plain one."""
FOLDED_AT_MOST = 0.95


def compiled(case: Subject) -> Subject:
    """Return a copy of a subject whose network is compiled for its batch.

    Raises:
        UserError: nothing can be compiled here.
    """
    mode, reason = choose_compilation("default", case.images.device)
    if mode == "none":
        raise UserError(f"not compiled: {reason}")
    backbone = case.backbone.clone()
    backbone.compilation = Compilation(mode, {len(case.images)})
    return dataclasses.replace(case, backbone=backbone)


def folded_subject(case: Subject) -> Subject:
    """Return a copy of a subject with batch norm folded into convolutions."""
    return dataclasses.replace(case, backbone=folded(case.backbone))


def measurements() -> tuple[list[list[str]], list[Target]]:
    """Return lines of a table with :data:`HEADER`, and the targets."""
    rows: list[list[str]] = []
    targets: list[Target] = []
    for name, batch, at_most in NETS:
        case = subject(name, batch)
        _forwards(case, at_most, rows, targets)
        for method in STEPS:
            _step(case, method, rows, targets)
    return rows, targets


def _call(case: Subject, name: str) -> Callable[[], torch.Tensor]:
    method = case.method(name)
    return lambda: method.step(case.images)


def _forwards(case: Subject, at_most: float, rows: list[list[str]], targets: list[Target]) -> None:
    fast = compiled(case)
    calls = {
        "source": _call(case, "source"),
        "source, compiled": _call(fast, "source"),
        "source, folded": _call(folded_subject(case), "source"),
        "source, folded and compiled": _call(compiled(folded_subject(case)), "source"),
        "bn_alpha": _call(case, "bn_alpha"),
        "bn_alpha, compiled": _call(fast, "bn_alpha"),
    }
    samples = interleave(calls, rounds=7)
    for name in list(calls)[1:]:
        _note(case, samples, name, "source", rows)
    what = f"bn_alpha compiled / evaluation forward, {case.title}"
    targets.append(Target(what, at_most, ratio(samples, "bn_alpha, compiled", "source")))
    what = f"source folded / as it is, {case.title}"
    targets.append(Target(what, FOLDED_AT_MOST, ratio(samples, "source, folded", "source")))


def _step(case: Subject, name: str, rows: list[list[str]], targets: list[Target]) -> None:
    plain, fast = name, f"{name}, compiled"
    samples = interleave({plain: _call(case, name), fast: _call(compiled(case), name)}, rounds=5)
    _note(case, samples, fast, plain, rows)
    what = f"{name} step compiled / as it is, {case.title}"
    targets.append(Target(what, STEP_AT_MOST, ratio(samples, fast, plain)))


def _note(case: Subject, samples: Samples, name: str, base: str, rows: list[list[str]]) -> None:
    milliseconds = f"{1e3 * median(samples[name]):.3g}"
    rows.append([case.title, name, milliseconds, base, f"{ratio(samples, name, base):.2f}"])
