"""Time and memory on a GPU: batch norm, RMT's step, images per second of every method."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import torch

from tta.backbones.folding import folded
from tta.foundation.errors import UserError
from tta.ops.norm.batch_norm import batch_norm_layers

from .gpu_checks import started, synchronised
from .measure import MIB, interleave, ratio
from .subjects import Subject

Row = list[str]
COSTLY = ("cotta", "memo", "ttaug")
"""Methods with dozens of passes per image; a sixteenth of the batch is enough for them."""
ARITHMETIC = {
    "fp32": (torch.float32, False),
    "tf32": (torch.float32, True),
    "bf16": (torch.bfloat16, False),
}
"""Number format of forward passes, and whether matrix products may round to TF32."""


@contextmanager
def tensor_float_32(allowed: bool) -> Iterator[None]:
    """Allow TF32 within, or forbid it; both in matrix products and in convolutions."""
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = allowed
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value


@torch.no_grad()
def batch_norm(case: Subject, rounds: int) -> list[Row]:
    """Return times of alpha-BN and of a folded network relative to evaluation mode."""
    merged = folded(case.backbone)
    if len(list(batch_norm_layers(merged))) == len(list(batch_norm_layers(case.backbone))):
        raise UserError("the network has no convolution with batch norm after it")
    plain, alpha = started(case, "source"), started(case, "bn_alpha")
    expected = plain.predict(case.images)
    difference = (merged(case.images) - expected).abs().max() / expected.abs().max()
    if not difference < 1e-2:
        raise UserError(f"folded, the network differs by {float(difference):.1e} of its outputs")
    calls = {
        "evaluation": lambda: plain.predict(case.images),
        "bn_alpha": lambda: alpha.predict(case.images),
        "folded": lambda: merged(case.images),
    }
    samples = interleave(synchronised(calls, case.images.device), rounds, seconds=6.0)
    ratios = [f"{ratio(samples, name, 'evaluation'):.2f}" for name in ("bn_alpha", "folded")]
    return [[case.title, f"{1e3 * median(samples['evaluation']):.2f}", *ratios]]


def rmt(case: Subject, rounds: int) -> list[Row]:
    """Return the time of RMT's step in each arithmetic, and relative to fp32."""
    times = {}
    for label in ARITHMETIC:
        with arithmetic(case, label):
            times[label] = _seconds(case, "rmt", rounds)
    return [
        [case.title, label, f"{1e3 * value:.1f}", f"{value / times['fp32']:.2f}"]
        for label, value in times.items()
    ]


@contextmanager
def arithmetic(case: Subject, label: str) -> Iterator[None]:
    """Let methods that are started within compute by a key of :data:`ARITHMETIC`."""
    precision, allowed = ARITHMETIC[label]
    with tensor_float_32(allowed), case.backbone.in_precision(precision):
        yield


def throughput(name: str, case: Subject, rounds: int) -> list[Row]:
    """Return a method's images per second in each arithmetic."""
    count = max(1, len(case.images) // (16 if name in COSTLY else 1))
    shown = []
    for label in ARITHMETIC:
        with arithmetic(case, label):
            shown.append(f"{count / _seconds(case, name, rounds, count):.0f}")
    return [[name, *shown]]


def _seconds(case: Subject, name: str, rounds: int, count: int | None = None) -> float:
    """Return the median time of a method's step on the first ``count`` images of its batch."""
    method, images = started(case, name), case.images[:count]
    calls = synchronised({name: lambda: method.step(images)}, images.device)
    return median(interleave(calls, rounds, seconds=0.4)[name])


def memory(name: str, case: Subject) -> list[Row]:
    """Return the memory in MiB that a method keeps, and that its second step needs beside that.

    Raises:
        UserError: the device does not tell.
    """
    device = case.images.device
    if device.type != "cuda":
        started(case, name).step(case.images[:1])
        raise UserError("a CPU does not tell its peak memory")
    before = torch.cuda.memory_allocated(device)
    method = started(case, name)
    images = case.images[: len(case.images) // (16 if name in COSTLY else 1)]
    method.step(images)
    kept = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    method.step(images)
    peak = torch.cuda.max_memory_allocated(device)
    return [[name, f"{(kept - before) / MIB:.0f}", f"{(peak - kept) / MIB:.0f}"]]
