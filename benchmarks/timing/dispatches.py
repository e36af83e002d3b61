"""Counts the operators that a step hands to a device, those of the network apart.

On a GPU an operator costs the host several microseconds, however little it computes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tta.backbones.backbone import Backbone

NETWORK = ((Backbone, "forward"), (Backbone, "features"), (Backbone, "head"))
NETWORK_BACKWARD = ((Tensor, "backward"), (torch.autograd, "grad"))
FREE = ("aten::detach", "aten::_local_scalar_dense")
"""What launches nothing though it is no view by torch's tags: it hands out memory or reads it."""


class OperatorCounter(TorchDispatchMode):
    """Counts operators by name; views, which launch nothing, are left out.

    Attributes:
        beside: those outside the passes of a network.
        network: number of those within, forward and backward.
    """

    def __init__(self) -> None:
        super().__init__()
        self.beside: Counter[str] = Counter()
        self.network = 0
        self._depth = 0
        self._patches: list[Any] = []

    @property
    def total(self) -> int:
        """Number of operators outside the passes of a network."""
        return self.beside.total()

    def __enter__(self) -> OperatorCounter:
        for owner, name in (*NETWORK, *NETWORK_BACKWARD):
            patch = mock.patch.object(owner, name, self._within(getattr(owner, name)))
            patch.start()
            self._patches.append(patch)
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        while self._patches:
            self._patches.pop().stop()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping | None = None
    ) -> Any:
        name = function._schema.name
        if function.namespace == "aten" and not function.is_view and name not in FREE:
            if self._depth:
                self.network += 1
            else:
                self.beside[name] += 1
        return function(*args, **(kwargs or {}))

    def _within(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            with self._inside():
                return call(*args, **kwargs)

        return counted

    @contextmanager
    def _inside(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1


def operators(step: Callable[[Tensor], Any], images: Tensor) -> OperatorCounter:
    """Return what one step hands to the device."""
    with OperatorCounter() as counter:
        step(images)
    return counter
