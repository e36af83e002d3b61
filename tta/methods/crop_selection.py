"""Robust inference by crop selection: the network sees the crop that a moving rule picks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tta.foundation.errors import UserError
from tta.foundation.from_host import from_host
from tta.methods.base import Method
from tta.methods.params import param
from tta.ops.views.crop_scores import (
    best_crops,
    brightness,
    cut,
    edges,
    filter_response,
    joined,
    random_weights,
)
from tta.ops.views.image_views import resized
from tta.ops.views.layout import memory_format_of


class CropSelection(Method):
    """Shows the network the crop of highest score, enlarged to its size; nothing is trained.

    A score that is computed from the pixels of the crop alone moves with the image: of a picture
    that was taken a pixel further, the same crop wins again, unless the best one has left the
    picture or a better one has come in. With scores as good as drawn at random and n crops beside
    each other that happens at about 2 in n + 1 translations by a pixel: smaller crops are more
    consistent, and lose what is around them (Shifman and Weiss, 2024).

    **A reconstruction.** The paper's function of selection was not to be had; these are ours:

    - ``random``, the response of a random filter of +1 and -1 at the crop's centre, drawn from the
      seed: neighbouring crops score nearly independently.
    - ``edges``, the squared differences of neighbouring pixels, and ``brightness``, the pixels,
      summed over the crop: neighbouring crops score nearly alike.
    - ``centre``, the usual crop and the baseline: it stays in the frame, and the image moves.

    Of photographs, ``random`` keeps nine crops of ten after a pixel; sums are often greatest at
    the border, where a crop moves with the frame. Of digits, objects before an even ground in 32
    pixels, which leave 5 by 5 crops, ``edges`` keeps the most (results/seed_inputs.md).

    With ``sides=joined`` crops may leave the image on one side and come in on the other, so that
    there is one at every pixel: of a cyclic shift (``--translate-edges wrap``) the same one wins,
    unless two are equal, as all sums over the whole image are, and outputs are the same.

    Of equal scores the first wins, row by row. Scores are sums of integers, the same on every
    device. Crops are cut from the decoded image where that is larger than the one shown, as
    published; ``crops_from="input"`` always takes the image shown, and decodes nothing again.
    :meth:`predict` knows no other.
    """

    name = "crop_selection"
    paper = (
        "Shifman and Weiss, Lost in translation: modern neural networks still struggle with small "
        "realistic image transformations, 2024 (the selecting function is a reconstruction)"
    )

    @dataclass(frozen=True)
    class Params:
        """Hyper-parameters; the size is that of the usual crop on ImageNet, 224 of 256 pixels."""

        rule: str = param(
            "random",
            "score of a crop: response of a random filter, edges or brightness within; or the "
            "centre crop",
            choices=("random", "edges", "brightness", "centre"),
        )
        share: float = param(
            0.875, "sides of a crop, relative to the image's shorter side", minimum=0.05, maximum=1
        )
        filter_side: int = param(
            5, "of the random filter, an odd number", unit="pixels", minimum=3, maximum=31
        )
        sides: str = param(
            "apart",
            "whether crops that leave the image on one side come in on the other",
            choices=("apart", "joined"),
        )
        crops_from: str = param(
            "decoded",
            "what crops are cut from: the decoded image where it is larger, or the one shown",
            choices=("decoded", "input"),
        )

    @classmethod
    def keeps_network(cls, params: Any) -> bool:
        return True

    def configure(self) -> None:
        side = self.params.filter_side
        if side % 2 == 0:
            raise UserError(f"{self.name}.filter_side must be odd, but is {side}: set {side + 1}")
        weights = random_weights(side, self.generator)
        self.rules = {
            "random": partial(filter_response, weights=weights),
            "edges": edges,
            "brightness": brightness,
        }

    @torch.no_grad()
    def step(self, images: Tensor) -> Tensor:
        decoded = self._decoded(images)
        if decoded is None:
            return self.predict(images)
        size = images.shape[-2:]
        chosen = [
            self._chosen(from_host(one, images.device)[None], size)
            if _is_larger(one, size)
            else self._chosen(_levels(image), size)
            for one, image in zip(decoded, images.split(1), strict=True)
        ]
        return self._classified(torch.cat(chosen), images)

    def _decoded(self, images: Tensor) -> Sequence[Tensor] | None:
        """Return the images as they were decoded; None where that is not asked for, or unknown."""
        if self.params.crops_from == "input" or self.decoded is None:
            return None
        found = self.decoded()
        if len(found) != len(images):
            raise UserError(
                f"{self.name} cuts crops from decoded images, which a stream has without --window "
                "alone; pass crops_from: input for crops of the images as they are shown"
            )
        return found

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        return self._classified(self._chosen(_levels(images), images.shape[-2:]), images)

    def _classified(self, levels: Tensor, images: Tensor) -> Tensor:
        return self.backbone((levels / 255).contiguous(memory_format=memory_format_of(images)))

    def _chosen(self, levels: Tensor, size: Sequence[int]) -> Tensor:
        """Return the chosen crops of images ``[B, 3, H, W]``, 0 to 255, in the network's size."""
        height, width = self._crop_size(levels.shape[-2:], size)
        if self.params.sides == "joined" and self.params.rule != "centre":
            levels = joined(levels, height, width)
        top, left = self._place(levels, height, width)
        crops = cut(levels, top, left, height, width)
        return resized(crops.float(), size, False)

    def _crop_size(self, whole: Sequence[int], shown: Sequence[int]) -> tuple[int, int]:
        """Return height and width of the crops: in proportion to what is shown, as large as fits.

        Raises:
            UserError: the random filter does not fit in.
        """
        scale = self.params.share * min(whole[0] / shown[0], whole[1] / shown[1])
        height, width = (max(2, round(scale * side)) for side in shown)
        least = self.params.filter_side
        if self.params.rule == "random" and min(height, width) < least:
            raise UserError(
                f"crops of {height}x{width} pixels have no room for {self.name}.filter_side "
                f"{least}: set a smaller one, or a larger share"
            )
        return min(height, whole[0]), min(width, whole[1])

    def _place(self, levels: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return top and left ``[B]`` of the crops."""
        if self.params.rule == "centre":
            spare = levels.shape[2] - height, levels.shape[3] - width
            top, left = (torch.full_like(levels[:, 0, 0, 0], side // 2).long() for side in spare)
            return top, left
        grey = levels.int().sum(1, dtype=torch.int32)
        return best_crops(self.rules[self.params.rule](grey, height, width))


def _is_larger(decoded: Tensor, shown: Sequence[int]) -> bool:
    return decoded.shape[1] > shown[0] and decoded.shape[2] > shown[1]


def _levels(images: Tensor) -> Tensor:
    return (images.clamp(0, 1) * 255).round()
