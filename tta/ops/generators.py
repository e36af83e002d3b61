"""Private random generators on the device where numbers are drawn."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


def generator_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """Return ``generator``, or for another device one there that is seeded from it.

    The host never waits for the device.
    """
    if device.type == generator.device.type:
        return generator
    seed = torch.randint(2**63 - 1, (), generator=generator).item()
    return torch.Generator(device).manual_seed(seed)


@contextlib.contextmanager
def seeded_layers(seed: int) -> Iterator[None]:
    """Let layers that are made within draw their weights, and drop units, from ``seed`` alone.

    PyTorch draws those from its global CPU generator, which is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would also seed the generators of every GPU.
        torch.random.default_generator.manual_seed(seed)
        yield
