"""Views of the images of a stream, as methods for CLIP draw them: random crops, on any device.

The image itself first, then crops of it enlarged to its size and mirrored (TPT, Shu et al.,
NeurIPS 2022), where asked for with AugMix on top. Crops are of the image shown, or as published of
the decoded one, whose edges have not been cut off. What is drawn for an image follows from a seed
and the image's place in the stream alone: every method, batch size and resumed run has the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.foundation.errors import UserError
from tta.ops.generators import generator_on
from tta.ops.views.augmix import crop_boxes, mix_chains, resized_crop_and_flip
from tta.ops.views.layout import memory_format_of

_BLACK = (0, 0, 0)
_ROUNDED = 0.5


class ViewChoices(Protocol):
    """How views are drawn.

    Attributes:
        views: of each image, itself among them.
        views_from: "input" crops the image shown, "decoded" what it was made of.
        least_area: share of the image that a view shows at least.
        flip: whether half of the crops are mirrored.
        augmix: whether crops are mixed with chains of operations on them.
    """

    views: int
    views_from: str
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

    def of(
        self,
        images: Tensor,
        begun: Callable[[], int] | None = None,
        decoded: Callable[[], Sequence[Tensor]] | None = None,
    ) -> Iterator[Tensor]:
        """Yield the views ``[N, 3, H, W]`` of each of ``images`` ``[B, 3, H, W]`` in [0, 1].

        Args:
            images: on any device.
            begun: says the position of the first of them; None counts those of earlier calls.
            decoded: returns what each was made of, uint8 ``[3, H', W']`` of any size.

        Raises:
            UserError: views are to be of the decoded images, and these are not to be had.
        """
        start = self.position if begun is None else begun()
        self.position = start + len(images)
        made_of = self._made_of(images, decoded)
        return (
            self._views(image, start + row, made_of[row])
            for row, image in enumerate(images.split(1))
        )

    def _made_of(
        self, images: Tensor, decoded: Callable[[], Sequence[Tensor]] | None
    ) -> Sequence[Tensor | None]:
        if self.choices.views_from == "input" or self.choices.views == 1:
            return [None] * len(images)
        found = None if decoded is None else decoded()
        if found is None or len(found) != len(images):
            raise UserError(
                "views_from: decoded needs each image as its data set has it, which only runs on a "
                "stream have, without --window; pass views_from: input for crops of the images "
                "as they are shown"
            )
        return found

    def _views(self, image: Tensor, position: int, made_of: Tensor | None) -> Tensor:
        count = self.choices.views - 1
        if not count:
            return image
        crops = self._crops(image, position, count, made_of)
        return torch.cat([image, crops / 255]).contiguous(memory_format=memory_format_of(image))

    def _crops(self, image: Tensor, position: int, count: int, made_of: Tensor | None) -> Tensor:
        """Return crops ``[count, 3, H, W]``, 0 to 255."""
        choices, host = self.choices, _generator(self.seed, position)
        draws = generator_on(image.device, host)
        if made_of is None:
            levels = (image.clamp(0, 1) * 255).round().expand(count, -1, -1, -1)
            crops = resized_crop_and_flip(levels, draws, choices.least_area, choices.flip, _ROUNDED)
        else:
            crops = crops_of(made_of, count, image, host, choices)
        return mix_chains(crops, draws, _BLACK) if choices.augmix else crops

    def state_dict(self) -> dict[str, Any]:
        """Return the count."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.position = int(state["position"])


def crops_of(
    made_of: Tensor, count: int, shown: Tensor, draws: torch.Generator, choices: ViewChoices
) -> Tensor:
    """Return random parts of an image in the size of another: torchvision's RandomResizedCrop.

    Args:
        made_of: uint8 ``[3, H', W']``.
        count: of parts.
        shown: ``[1, 3, H, W]``, whose size, kind and device the parts get.
        draws: CPU generator; nothing waits for the device.
        choices: see :class:`ViewChoices`.

    Returns:
        ``[count, 3, H, W]``, whole numbers from 0 to 255.
    """
    boxes = crop_boxes(made_of.expand(count, -1, -1, -1), draws, choices.least_area).int().tolist()
    mirrored = (torch.rand(count, generator=draws) < 0.5 * choices.flip).tolist()
    levels = made_of.to(shown.device).to(shown.dtype)[None]
    parts = [
        resized(levels[..., top : top + h, left : left + w], shown.shape[-2:], flip)
        for left, top, w, h, flip in zip(*boxes, mirrored, strict=True)
    ]
    return torch.cat(parts)


def resized(levels: Tensor, size: Sequence[int], flip: bool) -> Tensor:
    """Return levels ``[1, 3, H, W]`` in ``size``, bilinearly as Pillow does, maybe mirrored."""
    made = F.interpolate(levels, tuple(size), mode="bilinear", antialias=True).round().clamp(0, 255)
    return made.flip(3) if flip else made


def _generator(seed: int, position: int) -> torch.Generator:
    digest = hashlib.sha256(f"{seed} {position}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
