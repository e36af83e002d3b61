"""Private random generators on the device where numbers are drawn."""

from __future__ import annotations

import torch


def generator_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """Return ``generator``, or for another device one there that is seeded from it.

    The host never waits for the device.
    """
    if device.type == generator.device.type:
        return generator
    seed = torch.randint(2**63 - 1, (), generator=generator).item()
    return torch.Generator(device).manual_seed(seed)
