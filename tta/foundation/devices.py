"""Names of devices, as options and messages have them; known without torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tta.foundation.errors import UserError
from tta.foundation.text import shown

NO_TF32 = (
    "--precision tf32 would have no effect on {}: it is a way to multiply of NVIDIA's GPUs from "
    "Ampere on; use --precision fp32"
)
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""Read once by cuBLAS, when CUDA starts; with other values its sums may differ between runs."""
WORKSPACES = (":4096:8", ":16:8")
DEVICES = ("auto", "cpu", "cuda", "mps")
_NAME = re.compile(rf"({'|'.join(DEVICES)})|cuda:(0|[1-9]\d{{0,3}})")


def parse_device(value: Any) -> str:
    """Return ``auto``, ``cpu``, ``mps``, ``cuda`` (the current one) or ``cuda:N``.

    Raises:
        UserError: it is something else.
    """
    if not isinstance(value, str) or _NAME.fullmatch(value.strip()) is None:
        raise UserError(
            "--device takes auto, cpu, mps, cuda or cuda:N, the N-th GPU from 0, but got "
            f"{shown(value)}"
        )
    return value.strip()


def has_tf32(name: str) -> bool:
    """Return whether a device of this name may round products to TF32."""
    return name == "auto" or name.startswith("cuda")


def no_such_device(name: str, there: Sequence[str]) -> UserError:
    """Return the error of a device that is not among those that are ``there``."""
    return UserError(f"--device {name} is not available here; there is {' and '.join(there)}")
