"""Clocks that tell what a device takes, without waiting for it between two marks."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Marks moments, and tells later how far apart they were."""

    def mark(self) -> Any: ...

    def seconds(self, start: Any, stop: Any) -> float: ...

    def settle(self) -> None: ...


class HostClock:
    """Tells when the host gets to a mark.

    Args:
        device: that the host may have to wait for, see :meth:`settle`.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def mark(self) -> float:
        """Return this moment."""
        return time.perf_counter()

    def seconds(self, start: float, stop: float) -> float:
        """Return the seconds between two marks."""
        return stop - start

    def settle(self) -> None:
        """Wait for what the device has been given to do."""
        synchronize(self.device)


class EventClock:
    """Tells when a GPU gets to a mark: an event among its work, which the host passes by.

    Args:
        record: puts an event behind what the GPU has been given to do, and returns it.
    """

    def __init__(self, record: Callable[[], Any]) -> None:
        self.mark = record

    def seconds(self, start: Any, stop: Any) -> float:
        """Return the seconds between two marks; waits for the later one."""
        stop.synchronize()
        return start.elapsed_time(stop) / 1000

    def settle(self) -> None:
        """Do nothing: every mark waits for what is before it."""


def _recorded(device: torch.device) -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def clock_of(device: torch.device | str) -> Clock:
    """Return the clock for what runs on ``device``: of events on CUDA, else the host's."""
    device = torch.device(device)
    if device.type == "cuda":
        return EventClock(partial(_recorded, device))
    return HostClock(device)


def gpu_uuid(device: torch.device) -> str | None:
    """Return the name of a GPU that no setting changes; None where torch is too old to tell."""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return None if uuid is None else f"GPU-{uuid}"


def synchronize(device: torch.device) -> None:
    """Wait for what ``device`` has been given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
