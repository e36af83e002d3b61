"""Whether tensors of the user's program are images as methods expect them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tta.foundation.errors import UserError


def check_batch(images: Any, channels: int, device: torch.device | None = None) -> None:
    """Refuse what is no batch of float32 images ``[B, C, H, W]``; no value is looked at.

    Args:
        images: what the user gave.
        channels: C.
        device: where it must be; None for anywhere.

    Raises:
        UserError: it is something else, or elsewhere.
    """
    if not isinstance(images, Tensor):
        raise UserError(
            f"images must be a float tensor [B, {channels}, H, W] in [0, 1], but got a "
            f"{type(images).__name__}; torchvision's ToTensor makes one of a picture"
        )
    shape = list(images.shape)
    if images.dtype != torch.float32:
        cure = "images.float()" if images.is_floating_point() else "images.float() / 255"
        raise UserError(f"images must be float32 in [0, 1], but are {images.dtype}; pass {cure}")
    if images.dim() != 4 or shape[1] != channels or not all(shape):
        cure = "; pass images[None] for one image" if images.dim() == 3 else ""
        raise UserError(f"images must be [B, {channels}, H, W], but are {shape}{cure}")
    if device is not None and images.device != device:
        raise UserError(
            f"images are on {images.device} and the model is on {device}; pass "
            f"images.to({str(device)!r})"
        )


def check_range(images: Tensor) -> None:
    """Refuse images outside [0, 1]; waits for their device.

    Raises:
        UserError: they have been normalised, are in [0, 255], or are not finite.
    """
    low, high = (float(value) for value in images.aminmax())
    if low >= 0 and high <= 1:
        return
    if low < 0 and high <= 20:
        cure = "leave the normalisation out of their transform: the model's mean and std go inside"
    elif low >= 0 and 1.5 < high <= 255:
        cure = "pass images / 255"
    elif low > -0.5 and high < 1.5:
        cure = "pass images.clamp(0, 1)"
    else:
        cure = "mend them: values that are not finite, or so large, are no images"
    raise UserError(f"images must be in [0, 1], but go from {low:.4g} to {high:.4g}; {cure}")


def check_all_known(labels: np.ndarray, name: str) -> None:
    """Refuse source images of no class.

    Args:
        labels: ``[N]``.
        name: of the data set.

    Raises:
        UserError: there is one.
    """
    unknown = int((labels < 0).sum())
    if unknown:
        raise UserError(
            f"{unknown:,} source images of {name!r} are unknown (label -1); a model is trained on "
            "images of its classes alone: take them out"
        )
