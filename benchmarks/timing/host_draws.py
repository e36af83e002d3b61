"""Random draws of methods on a device taken from the host, so that both can be compared."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

IN_PLACE = (Tensor.bernoulli_, Tensor.normal_, Tensor.uniform_)


class _HostDraws(TorchFunctionMode):
    """Lets a host generator fill tensors of another device: drawn on the host, then moved."""

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("generator") is None:
            return function(*args, **kwargs)
        if function in IN_PLACE:
            drawn = function(torch.empty_like(args[0], device="cpu"), *args[1:], **kwargs)
            return args[0].copy_(drawn)
        device = kwargs.pop("device", "cpu")
        return function(*args, **kwargs).to(device)


@contextmanager
def host_draws() -> Iterator[None]:
    """Within, methods on any device draw the numbers that they draw on the host."""
    modules = [module for name, module in sys.modules.items() if name.startswith("tta.")]
    patches = [
        mock.patch.object(module, "generator_on", lambda device, generator: generator)
        for module in modules
        if hasattr(module, "generator_on")
    ]
    for patch in patches:
        patch.start()
    try:
        with _HostDraws():
            yield
    finally:
        for patch in patches:
            patch.stop()
