"""The cloud side of an edge method: the link, its hyper-parameters, and the images it keeps.

Time is simulated: one batch arrives every ``batch_interval`` seconds, computing takes none, and
only the link delays. So equal runs are equal on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tta.methods.params import param


@dataclass(frozen=True)
class LinkParams:
    """Hyper-parameters of what lies between edge and cloud."""

    upload_budget: float = param(
        1.0,
        "greatest fraction of the images seen so far that is uploaded",
        minimum=0.0,
        maximum=1.0,
    )
    link_latency: float = param(
        0.0, "that a message is under way, each way", unit="seconds", minimum=0.0, maximum=1e9
    )
    link_bandwidth: float | None = param(
        None, "each way; null: unlimited", unit="bytes per second", minimum=1.0, maximum=1e15
    )
    batch_interval: float = param(
        1.0,
        "simulated time between two batches, the clock of the link",
        unit="seconds",
        minimum=0.0,
        maximum=1e9,
    )


class Link:
    """One direction: messages of tensors that arrive in order, after their delay.

    A message leaves when the one before it is through, takes ``bytes / bandwidth`` seconds to
    send and arrives ``latency`` seconds later.

    Args:
        latency: seconds.
        bandwidth: bytes per second; None for unlimited.

    Attributes:
        bytes: sent so far.
        messages: sent so far.
    """

    def __init__(self, latency: float = 0.0, bandwidth: float | None = None) -> None:
        self.latency = latency
        self.bandwidth = bandwidth or float("inf")
        self.bytes = 0
        self.messages = 0
        self._free_at = 0.0
        self._in_flight: list[tuple[float, list[Tensor]]] = []

    def send(self, now: float, tensors: Sequence[Tensor]) -> None:
        """Send copies of ``tensors`` as one message at time ``now``."""
        size = sum(tensor.nbytes for tensor in tensors)
        self._free_at = max(now, self._free_at) + size / self.bandwidth
        payload = [tensor.detach().clone() for tensor in tensors]
        self._in_flight.append((self._free_at + self.latency, payload))
        self.bytes += size
        self.messages += 1

    def receive(self, now: float) -> Iterator[tuple[float, list[Tensor]]]:
        """Yield arrival time and content of every message that has arrived by ``now``."""
        while self._in_flight and self._in_flight[0][0] <= now:
            yield self._in_flight.pop(0)

    def state_dict(self) -> dict[str, Any]:
        """Return the messages in flight and the totals."""
        return {
            "bytes": self.bytes,
            "messages": self.messages,
            "free_at": self._free_at,
            "in_flight": list(self._in_flight),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.bytes, self.messages = state["bytes"], state["messages"]
        self._free_at = state["free_at"]
        self._in_flight = [(arrival, list(tensors)) for arrival, tensors in state["in_flight"]]


class ImageHistory:
    """The latest images in host memory, in one preallocated tensor; the oldest make room.

    Args:
        capacity: images; 0 keeps none.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._images: Tensor | None = None
        self._appended = 0

    def __len__(self) -> int:
        return min(self._appended, self.capacity)

    def append(self, images: Tensor) -> None:
        """Add images ``[B, ...]``."""
        images = images[max(0, len(images) - self.capacity) :]
        if self._images is None:
            self._images = images.new_empty(self.capacity, *images.shape[1:])
        rows = (self._appended + torch.arange(len(images))) % max(self.capacity, 1)
        self._images[rows] = images
        self._appended += len(images)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Return ``count`` different images at random, or all where there are fewer."""
        rows = torch.randperm(len(self), generator=generator)[:count]
        return self._images[rows]

    def state_dict(self) -> dict[str, Any]:
        """Return the images kept and how many there have been."""
        kept = None if self._images is None else self._images[: len(self)].clone()
        return {"images": kept, "appended": self._appended}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self._images, self._appended = None, 0
        if state["images"] is not None:
            self.append(state["images"])
        self._appended = state["appended"]


def to_bytes(images: Tensor) -> Tensor:
    """Return images in [0, 1] as uint8 in host memory: what travels and what is kept.

    Exact for images that were uint8 before; others are rounded to 1/255.
    """
    return (images * 255.0).round_().to(torch.uint8).cpu()


def layout(model: nn.Module) -> torch.memory_format:
    """Return the memory format that the convolutions of ``model`` are in."""
    kernels = [parameter for parameter in model.parameters() if parameter.dim() == 4]
    if any(not kernel.is_contiguous() for kernel in kernels):
        return torch.channels_last
    return torch.contiguous_format
