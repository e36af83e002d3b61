"""Time and memory on a GPU: batch norm, RMT's step, images per second of every method."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import torch
from torch import Tensor

from tta.backbones.folding import folded
from tta.foundation.errors import UserError
from tta.methods import Method
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
    """Return a method's images per second in each arithmetic, and its memory in float32.

    That is what it keeps, and what its second step needs beside, in MiB.
    """
    images = case.images[: max(1, len(case.images) // (16 if name in COSTLY else 1))]
    shown, memory = {}, []
    for precision in dict.fromkeys(precision for precision, _ in ARITHMETIC.values()):
        before = _allocated(images.device)
        with tensor_float_32(False), case.backbone.in_precision(precision):
            method = started(case, name)
        memory = memory or _memory(method, images, before)
        for label, (one, allowed) in ARITHMETIC.items():
            if one == precision:
                with tensor_float_32(allowed):
                    shown[label] = f"{len(images) / _timed(method, images, rounds):.0f}"
    return [[name, *(shown[label] for label in ARITHMETIC), *memory]]


def _seconds(case: Subject, name: str, rounds: int) -> float:
    """Return the median time of a method's step on the images of a case."""
    return _timed(started(case, name), case.images, rounds)


def _timed(method: Method, images: Tensor, rounds: int) -> float:
    calls = synchronised({method.name: lambda: method.step(images)}, images.device)
    return median(interleave(calls, rounds, seconds=0.25)[method.name])


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _memory(method: Method, images: Tensor, before: int) -> Row:
    """Return what a method keeps after a step, and what a second one needs beside; in MiB."""
    method.step(images)
    if images.device.type != "cuda":
        return ["-", "-"]
    kept = _allocated(images.device)
    torch.cuda.reset_peak_memory_stats(images.device)
    method.step(images)
    peak = torch.cuda.max_memory_allocated(images.device)
    return [f"{(kept - before) / MIB:.0f}", f"{(peak - kept) / MIB:.0f}"]
