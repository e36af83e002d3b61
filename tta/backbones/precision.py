"""The number format of forward passes: as given, or picked by a probe."""

from __future__ import annotations

import time
from statistics import median

import torch

from tta.backbones.backbone import Backbone
from tta.foundation.clocks import synchronize

PRECISIONS = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
"""Type of the activations; how those of float32 are multiplied says
:func:`tta.foundation.backends.rounding`."""
PROBE_SECONDS = 1.0
PROBE_IMAGES = 8
WORTH_IT = 0.8
"""Share of float32's time below which fewer digits are worth it."""


def choose_precision(
    name: str, backbone: Backbone, batch_size: int, memory_format: torch.memory_format
) -> tuple[str, str | None]:
    """Return the precision, and for ``auto`` why it was picked.

    ``auto`` times forward passes for about a second: bf16 where it takes less than 0.8 of the
    time of fp32, otherwise fp32. Never fp16, whose range is smaller.

    Args:
        name: a key of :data:`PRECISIONS`, or ``auto``.
        backbone: on its device; left as it is.
        batch_size: of the stream.
        memory_format: of the stream's images.
    """
    if name != "auto":
        return name, None
    relative = _relative_time(backbone, min(batch_size, PROBE_IMAGES), memory_format)
    picked = "bf16" if relative < WORTH_IT else "fp32"
    return picked, f"picked by a probe: a forward pass in bf16 takes {relative:.2f} of fp32's time"


@torch.no_grad()
def _relative_time(backbone: Backbone, count: int, memory_format: torch.memory_format) -> float:
    device = backbone.mean.device
    images = torch.zeros(count, *backbone.input_size, device=device)
    images = images.contiguous(memory_format=memory_format)
    seconds: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    started = time.perf_counter()
    while True:
        for precision, taken in seconds.items():
            start = time.perf_counter()
            with backbone.in_precision(precision):
                backbone(images)
            synchronize(device)
            taken.append(time.perf_counter() - start)
        # The first round warms up and does not count.
        if len(taken) > 1 and time.perf_counter() - started > PROBE_SECONDS:
            break
    full, half = (median(taken[1:]) for taken in seconds.values())
    return half / full
