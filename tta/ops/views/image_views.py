"""Views of the images of a stream, as methods for CLIP draw them: random crops, on any device.

The image itself first, then crops of it enlarged to its size and mirrored (TPT, Shu et al.,
NeurIPS 2022), where asked for with AugMix on top. What is drawn for an image follows from a seed
and the image's place in the stream alone: every method, batch size and resumed run has the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from tta.ops.generators import generator_on
from tta.ops.views.augmix import mix_chains, resized_crop_and_flip
from tta.ops.views.layout import memory_format_of

_BLACK = (0, 0, 0)
_ROUNDED = 0.5


class ViewChoices(Protocol):
    """How views are drawn.

    Attributes:
        views: of each image, itself among them.
        least_area: share of the image that a view shows at least.
        flip: whether half of the crops are mirrored.
        augmix: whether crops are mixed with chains of operations on them.
    """

    views: int
    least_area: float
    flip: bool
    augmix: bool


class ImageViews:
    """Draws views of images, and keeps count of them.

    Args:
        choices: how.
        seed: of all draws.

    Attributes:
        position: of the next image, where the caller does not say it.
    """

    def __init__(self, choices: ViewChoices, seed: int) -> None:
        self.choices, self.seed = choices, seed
        self.position = 0

    def of(self, images: Tensor, begun: Callable[[], int] | None = None) -> Iterator[Tensor]:
        """Yield the views ``[N, 3, H, W]`` of each of ``images`` ``[B, 3, H, W]`` in [0, 1].

        Args:
            images: on any device.
            begun: says the position of the first of them; None counts those of earlier calls.
        """
        start = self.position if begun is None else begun()
        self.position = start + len(images)
        return (self._views(image, start + row) for row, image in enumerate(images.split(1)))

    def _views(self, image: Tensor, position: int) -> Tensor:
        count = self.choices.views - 1
        if not count:
            return image
        draws = generator_on(image.device, _generator(self.seed, position))
        levels = (image.clamp(0, 1) * 255).round().expand(count, -1, -1, -1)
        choices = self.choices
        crops = resized_crop_and_flip(levels, draws, choices.least_area, choices.flip, _ROUNDED)
        if choices.augmix:
            crops = mix_chains(crops, draws, _BLACK)
        views = torch.cat([image, crops / 255])
        return views.contiguous(memory_format=memory_format_of(image))

    def state_dict(self) -> dict[str, Any]:
        """Return the count."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.position = int(state["position"])


def _generator(seed: int, position: int) -> torch.Generator:
    digest = hashlib.sha256(f"{seed} {position}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
