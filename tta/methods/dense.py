"""Which methods segment, too: classes of pixels in place of classes of images.

A method says so on its own class, with the hyper-parameters that have other defaults there::

    dense = {"lr": 2.5e-4, "optimizer": "sgd"}

A subclass says it again: what its base can do, it need not. Backbones give it features
``[B, D, h, w]`` and logits ``[B, C, h, w]`` then, and it returns outputs ``[B, C, h, w]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Dense = Mapping[str, Any]


def dense_defaults(method: Any) -> Dense | None:
    """Return the defaults of a method's hyper-parameters that are others for segmentation.

    None where the method's own class does not say that it segments.
    """
    return vars(method).get("dense")
