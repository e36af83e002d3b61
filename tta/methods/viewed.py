"""Methods for image-text models that look at an image once, or at several views of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tta.methods.base import Method, Need
from tta.methods.params import param
from tta.ops.views.image_views import ImageViews


@dataclass(frozen=True)
class ViewParams:
    """How views are drawn: those of TPT for ImageNet and its variants."""

    views: int = param(
        64, "views of each image, itself among them", unit="views", minimum=1, maximum=4096
    )
    views_from: str = param(
        "input",
        "what views are cut from: the image shown, or as published the decoded one",
        choices=("input", "decoded"),
    )
    least_area: float = param(
        0.08, "share of the image that a view shows at least", minimum=0.001, maximum=1.0
    )
    flip: bool = param(True, "mirror half of the views; not for what has no mirror image")
    augmix: bool = param(False, "mix views with AugMix, as published for the fine-grained sets")


class ImageByImage(Method):
    """Takes one image after another, as its unit features; the image tower stays.

    A subclass says in :meth:`episode` what comes of them. Figures do not depend on the batch size.
    """

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.IMAGE_TEXT})

    @classmethod
    def keeps_network(cls, params: Any) -> bool:
        return True

    def step(self, images: Tensor) -> Tensor:
        return torch.stack([self.episode(features) for features in self.encoded(images)])

    @torch.no_grad()
    def encoded(self, images: Tensor) -> Iterator[Tensor]:
        """Yield unit features ``[1, D]`` of each image."""
        yield from self.backbone.features(images).split(1)

    def episode(self, features: Tensor) -> Tensor:
        """Return outputs ``[C]`` from the features ``[N, D]`` of an image or its views."""
        raise NotImplementedError


class ViewedMethod(ImageByImage):
    """Takes one image after another, as unit features of its views."""

    state = ("views",)
    Params = ViewParams

    def configure(self) -> None:
        self.views = ImageViews(self.params, self.generator.initial_seed())

    @torch.no_grad()
    def encoded(self, images: Tensor) -> Iterator[Tensor]:
        """Yield unit features ``[N, D]`` of the views of each image, the image's own first."""
        if self.params.views == 1:
            yield from super().encoded(images)
            return
        for views in self.views.of(images, self.position, self.decoded):
            yield self.backbone.features(views)
