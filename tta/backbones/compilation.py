"""Features computed by code that torch.compile has made for a network."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor

from tta.foundation.cache import cache_folder
from tta.foundation.errors import UserError

TORCH_MODES = {"default": None, "max-autotune": "max-autotune-no-cudagraphs"}
"""What torch calls the values of ``--compile``; graphs are of whole steps, if at all."""
VARIANTS = 64
"""Codes that one network may need: with and without gradients, for each state of its layers."""
CACHE = "TORCHINDUCTOR_CACHE_DIR"
COMPILERS = ("g++", "clang++", "g++-14", "g++-13", "g++-12", "g++-11", "g++-10")


class Compilation:
    """Compiled features of a network and all its later copies, for whole batches alone.

    Teachers, anchors and snapshots that are copies of one network share its code. Batches of other
    sizes than those named run as without: which code a batch meets depends on its size alone, never
    on what came before, so that a run that goes on meets the same.

    Args:
        mode: a key of :data:`TORCH_MODES`.
        batch_sizes: numbers of images that are worth code of their own.
        backend: of torch.compile; others than inductor know no modes.
    """

    def __init__(
        self, mode: str, batch_sizes: Collection[int], backend: str | Callable = "inductor"
    ) -> None:
        self.mode, self.batch_sizes, self.backend = mode, frozenset(batch_sizes), backend
        self._compiled: dict[CodeType, Callable[..., Tensor]] = {}
        self._is_paused = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Compilation:
        return self

    def call(self, function: Callable[..., Tensor], owner: Any, images: Tensor) -> Tensor:
        """Return ``function(owner, images)``, compiled where the batch is whole.

        Raises:
            UserError: the network cannot be compiled.
        """
        if self._is_paused or len(images) not in self.batch_sizes:
            return function(owner, images)
        with refusing(owner.name):
            return self._of(function)(owner, images)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Run everything as without meanwhile."""
        before, self._is_paused = self._is_paused, True
        try:
            yield
        finally:
            self._is_paused = before

    def _of(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        code = function.__code__
        if code not in self._compiled:
            self._compiled[code] = self._compile(function)
        return self._compiled[code]

    def _compile(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        _allow_variants(VARIANTS)
        # torch keeps compiled code with the code object: a copy of it forgets it with the network.
        own = FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
        mode = TORCH_MODES[self.mode] if self.backend == "inductor" else None
        return torch.compile(own, fullgraph=True, dynamic=False, backend=self.backend, mode=mode)


@contextlib.contextmanager
def refusing(name: str) -> Iterator[None]:
    """Turn what torch.compile raises of a network that it cannot compile into a message.

    Raises:
        UserError: it cannot.
    """
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        raise UserError(
            f"backbone {name!r} cannot be compiled ({_reason(error)}): leave --compile out"
        ) from error


def choose_compilation(mode: str, device: torch.device) -> tuple[str, str | None]:
    """Return ``mode``, or ``none`` and why, where nothing can be compiled on the device.

    Compiled code is kept in the package's cache folder, for later runs.
    """
    if mode == "none":
        return mode, None
    _keep_in_the_cache_folder()
    fault = _fault(device)
    return ("none", fault) if fault else (mode, None)


def _keep_in_the_cache_folder() -> None:
    # Imported, torch's compiler names a temporary folder here itself; only another is a user's.
    named = os.environ.get(CACHE)
    own = str(Path(tempfile.gettempdir(), "torchinductor_"))
    if named is None or named.startswith(own):
        os.environ[CACHE] = str(cache_folder() / "compiled")


def _fault(device: torch.device) -> str | None:
    """Return why torch.compile does not work here, or None."""
    names = (os.environ["CXX"],) if "CXX" in os.environ else COMPILERS
    if device.type == "cpu" and not any(map(shutil.which, names)):
        return f"there is no C++ compiler here ({names[0]})"
    try:
        torch.compile(_tried, dynamic=False)(torch.ones(8, device=device))
    except (RuntimeError, ImportError, OSError) as error:
        return f"torch.compile does not work here ({_reason(error)})"
    return None


def _tried(values: Tensor) -> Tensor:
    return (values * 2).exp().sum()


def _allow_variants(count: int) -> None:
    config = torch._dynamo.config
    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    setattr(config, name, max(count, getattr(config, name)))


def _reason(error: BaseException) -> str:
    """Return the first line of what torch says."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__).rstrip(".:")
