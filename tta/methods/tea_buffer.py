"""TEA's replay buffer: samples of the network's energy, which later ones start from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tta.foundation.from_host import from_host
from tta.ops.generators import generator_on
from tta.ops.memory import array_of
from tta.ops.views.layout import memory_format_of


class ReplayBuffer:
    """``capacity`` images, at the start each of uniform noise from -1 to 1.

    A place's noise is drawn when the place is first asked for, so that a state holds no more
    images than have been stored. Asked for twice in one batch it starts two samples, of which the
    later one stays.

    Args:
        capacity: places for images, N.
        device: where images are kept; from the first :meth:`store` on, all N of them.

    Attributes:
        images: ``[N, 3, H, W]``; None until the first are stored.
        stored: mask ``[N]``, on the host, of the places that hold a sample.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.capacity, self.device = capacity, device
        self.images: Tensor | None = None
        self.stored = torch.zeros(capacity, dtype=torch.bool)

    def draw(
        self, like: Tensor, fresh_share: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return images to start from ``[B, 3, H, W]``, and their places ``[B]``, on the host.

        Args:
            like: images of the shape and layout that are wanted.
            fresh_share: probability of noise in place of what a place holds.
            generator: on the host.
        """
        places = torch.randint(self.capacity, (len(like),), generator=generator)
        fresh = torch.rand(len(like), generator=generator) < fresh_share
        on_device = generator_on(like.device, generator)
        noise = torch.rand(like.shape, generator=on_device, device=like.device)
        noise = noise.mul_(2).sub_(1).contiguous(memory_format=memory_format_of(like))
        if self.images is None:
            return noise, places
        fresh = from_host(fresh | ~self.stored[places], self.device)
        held = self.images[from_host(places, self.device)]
        return torch.where(fresh.view(-1, 1, 1, 1), noise, held), places

    def store(self, samples: Tensor, places: Tensor) -> None:
        """Put samples ``[B, 3, H, W]`` into the places ``[B]`` that they were drawn for."""
        if self.images is None:
            self.images = samples.new_zeros(self.capacity, *samples.shape[1:])
        rows = {place: row for row, place in enumerate(array_of(places).tolist())}
        pairs = torch.tensor([[*rows], [*rows.values()]])
        array_of(self.stored)[[*rows]] = True
        slots, chosen = from_host(pairs, self.device)
        self.images.index_copy_(0, slots, samples[chosen])

    def state_dict(self) -> dict[str, Any]:
        """Return the images that are stored and their places."""
        places = self.stored.nonzero().flatten()
        images = None if self.images is None else self.images[from_host(places, self.device)]
        return {"images": images, "places": places}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        images, places = state["images"], state["places"].cpu()
        self.stored.fill_(False)
        self.stored[places] = True
        self.images = None
        if images is not None:
            self.images = images.new_zeros(self.capacity, *images.shape[1:], device=self.device)
            self.images[from_host(places, self.device)] = from_host(images, self.device)
