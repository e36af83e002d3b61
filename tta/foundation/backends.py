"""The flags of torch that decide how a device rounds, set for a run and put back after it.

- ``fp32`` is float32 throughout: cuDNN's convolutions would round their factors to TF32 by
  default. ``tf32`` lets convolutions and matrix products do so, on GPUs from Ampere on.
- ``cudnn.benchmark`` is off: which algorithm wins a race may change from run to run, and the last
  batch of a domain, shorter than the others, would race again.
- With ``deterministic`` torch takes algorithms that give the same bytes every time, or raises.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

import torch

from tta.foundation.devices import WORKSPACE, WORKSPACES
from tta.foundation.errors import UserError

_REFUSED = re.compile(r"(\S[^\n]*?) does not have a deterministic implementation")
_OLD_SWITCHES = ("cuda.matmul.allow_tf32", "cudnn.allow_tf32")
_SWITCHES = tuple(
    f"{part}.fp32_precision"
    for part in ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv")
)
"""Those of torch 2.9 and later, which are inherited where they are not set; a program that has
set some of these may not read the old ones any more."""


@contextlib.contextmanager
def rounding(device: torch.device, tf32: bool = False, deterministic: bool = False) -> Iterator:
    """Let what runs within round as said, on ``device``, which is the current one meanwhile.

    The variable :data:`WORKSPACE` alone stays as ``deterministic`` has set it: CUDA has started
    with it.

    Args:
        device: where the model runs; ``deterministic`` is for CUDA alone, as sums are always taken
            in the same order on a CPU.
        tf32: see the module.
        deterministic: see the module.

    Raises:
        UserError: an operator has no deterministic algorithm, or cuBLAS was started without.
    """
    deterministic = deterministic and device.type == "cuda"
    if deterministic:
        fix_workspace()
    with contextlib.ExitStack() as stack:
        if device.type == "cuda" and torch.cuda.is_available():
            stack.enter_context(torch.cuda.device(device))
        stack.enter_context(_precision(tf32))
        stack.enter_context(_flag("cudnn.benchmark", False))
        stack.enter_context(_flag("cudnn.deterministic", deterministic))
        stack.enter_context(_deterministic_algorithms(deterministic))
        try:
            yield
        except RuntimeError as error:
            _refuse_operator(error)
            raise


def flags() -> dict[str, Any]:
    """Return the flags that are set, as plain values, for a run's record."""
    return {
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "nvidia_tf32_override": os.environ.get("NVIDIA_TF32_OVERRIDE"),  # above all flags
    }


def fix_workspace() -> None:
    """Set :data:`WORKSPACE` for ``deterministic``, unless it is; before anything starts CUDA.

    Raises:
        UserError: CUDA has started without it, or the user has set it to something else.
    """
    given = os.environ.get(WORKSPACE)
    if given in WORKSPACES:
        return
    if given is not None or torch.cuda.is_initialized():
        where = f"is {given!r}" if given is not None else "was not set before CUDA started"
        raise UserError(
            f"--deterministic needs {WORKSPACE}={WORKSPACES[0]}, and it {where}: set it in the "
            "environment of the program"
        )
    os.environ[WORKSPACE] = WORKSPACES[0]


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Let matrix products within not be rounded to TF32, such as those that are inverted."""
    allowed = _read("cuda.matmul.allow_tf32")
    if allowed is None:  # only the new flag can be read
        allowed = _read("cuda.matmul.fp32_precision") == "tf32"
    with _precision(tf32=False) if allowed else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _precision(tf32: bool) -> Iterator[None]:
    has_new = hasattr(torch.backends.cudnn, "conv")
    precision = "tf32" if tf32 else "ieee"
    old = {name: _read(name) for name in _OLD_SWITCHES}
    matmul = _readable(torch.get_float32_matmul_precision)
    new = {name: _read(name) for name in _SWITCHES} if has_new else {}
    # The old ones first: they write to the new.
    for name in _OLD_SWITCHES:
        _write(name, tf32)
    for name in new:
        _write(name, "ieee" if name.startswith("mkldnn") else precision)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is not None:
                _write(name, value)
        if matmul is not None:  # finer than the flag above
            torch.set_float32_matmul_precision(matmul)
        for name, value in new.items():
            _write(name, value)


@contextlib.contextmanager
def _flag(name: str, value: Any) -> Iterator[None]:
    before = _read(name)
    _write(name, value)
    try:
        yield
    finally:
        _write(name, before)


@contextlib.contextmanager
def _deterministic_algorithms(wanted: bool) -> Iterator[None]:
    before = torch.get_deterministic_debug_mode()
    mode = 2 if wanted else 0  # raise, or do not care
    if mode == before:  # setting it takes the import of a compiler
        yield
        return
    torch.set_deterministic_debug_mode(mode)
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


def _refuse_operator(error: RuntimeError) -> None:
    found = _REFUSED.search(str(error))
    if found is not None:
        raise UserError(
            f"--deterministic: the operator {found[1]} has no deterministic algorithm on this "
            "device; use another method or backbone, or leave --deterministic out"
        ) from error


def _owner(name: str) -> tuple[Any, str]:
    path, _, last = name.rpartition(".")
    return reduce(getattr, path.split("."), torch.backends), last


def _read(name: str) -> Any:
    """Return a flag; None where it cannot be read, as old and new ones contradict each other."""
    return _readable(lambda: getattr(*_owner(name)))


def _readable(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except RuntimeError:
        return None


def _write(name: str, value: Any) -> None:
    owner, last = _owner(name)
    setattr(owner, last, value)
