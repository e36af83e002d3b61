"""What methods that segment promise beside the rest."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tta.methods import Method
from tta.testing.checks import Check, expect, expect_equal_outputs, stepped
from tta.testing.stand_ins import NUM_CLASSES, make_images

ODD = tuple(make_images(count, 10 + count, size) for count, size in ((1, (33, 47)), (2, (40, 32))))
"""Batches of images whose sides no stride divides, and of two sizes."""


def odd_sizes(make: Callable[[], Method]) -> None:
    """Step over images of odd and of changing sizes, reset, and do it again."""
    method = make()
    first = stepped(method, ODD)
    for images, found in zip(ODD, first, strict=True):
        shape = (len(images), NUM_CLASSES)
        expect(found.dim() == 4, f"outputs have shape {tuple(found.shape)}, not [B, C, h, w]")
        expect(found.shape[:2] == shape, f"outputs have shape {tuple(found.shape)}")
        expect(bool(torch.isfinite(found).all()), "outputs are not finite")
    method.reset()
    expect_equal_outputs(first, stepped(method, ODD), "after reset()")


def one_class(make: Callable[[], Method]) -> None:
    """Step over images of one colour, whose pixels are all alike."""
    images = torch.full((1, 3, 32, 32), 0.5)
    for found in stepped(make(), (images, images)):
        expect(bool(torch.isfinite(found).all()), "outputs are not finite")


DENSE_CHECKS = [
    Check(
        "images of any size are segmented",
        "images of 33 x 47 and of 40 x 32 pixels were given to step(), and again after reset()",
        "something keeps the size of the first map",
        odd_sizes,
    ),
    Check(
        "an image of one class leaves outputs finite",
        "two steps on an image of one colour",
        "a division by a variance or a count that is 0; give it an epsilon",
        one_class,
    ),
]
"""Of methods with ``dense``, beside :data:`tta.testing.checks.CHECKS`."""
