"""What the rounding of a run's figures depends on, beside its options and this package's code."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from tta.foundation.backends import flags
from tta.foundation.unlike import unlike

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow")
FLAGS = ("tf32", "tf32_convolutions", "deterministic", "nvidia_tf32_override")


def arithmetic(device: torch.device) -> dict[str, Any]:
    """Return what must stay the same for a run to go on to the same bytes, as plain values.

    Where the model runs on the CPU, that is also the number of threads, among which sums are
    divided, and the processor's instructions; on a GPU neither reaches a figure, as all sums are
    taken there, and the GPU's model counts instead, the versions of CUDA and cuDNN, and the flags
    that :func:`tta.foundation.backends.rounding` has set. Not among them, as no figure depends on
    them: Python, pandas, the operating system, the number of processes that load images.
    """
    facts: dict[str, Any] = {package: version(package) for package in PACKAGES}
    facts["torch"] = torch.__version__  # with what it was built for
    if device.type == "cpu":
        facts["processor"] = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
        facts["threads"] = torch.get_num_threads()
    elif device.type == "cuda":
        facts["GPU"] = torch.cuda.get_device_name(device)
        facts |= versions_of_cuda()
        facts |= {name: value for name, value in flags().items() if name in FLAGS}
    return facts


def versions_of_cuda() -> dict[str, Any]:
    """Return the versions of what computes on a GPU, as plain values."""
    return {"CUDA": torch.version.cuda, "cuDNN": torch.backends.cudnn.version()}


def difference(then: Any, now: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return how ``now`` differs from what a checkpoint was made with, and the cure; or None.

    Args:
        then: what was written; anything.
        now: see :func:`arithmetic`.
    """
    then = then if isinstance(then, dict) else {}
    found = unlike([{name: then.get(name) for name in now}, now])
    if not found:
        return None
    written = ", ".join(_shown(name, there) for name, (there, _) in found.items())
    here = ", ".join(_shown(name, value) for name, (_, value) in found.items())
    cure = "; ".join(_cure(name, there) for name, (there, _) in found.items())
    return f"{written}, and this is {here}", cure


def _shown(name: str, value: Any) -> str:
    return f"{value} threads" if name == "threads" else f"{name} {value}"


def _cure(name: str, value: Any) -> str:
    if name == "threads":
        return f"set OMP_NUM_THREADS={value} (in a sweep, the --workers of before)"
    if name in PACKAGES:
        return f"install {name} {value}"
    return f"go on with {name} {value}"
