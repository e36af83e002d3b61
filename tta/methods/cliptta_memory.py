"""CLIPTTA's memory: the most confident images of every class."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tta.foundation.from_host import from_host

_PARTS = ("images", "labels", "confidences")


class ConfidentMemory:
    """Keeps of every predicted class the images that were predicted with most confidence.

    The class-wise confident memory of MarcLafon/cliptta. Of equal ones the older stays; images
    whose confidence is not a number are not kept. It holds no more images than it has been given.

    Args:
        slots: images that a class keeps.
        num_classes: C.
        like: a tensor on the device where images are kept.

    Attributes:
        images: ``[n, 3, H, W]``, class by class, the most confident first.
        labels: predicted classes ``[n]``.
        confidences: ``[n]``.
        counts: images of every class ``[C]``, on the host.
    """

    def __init__(self, slots: int, num_classes: int, like: Tensor) -> None:
        self.slots, self.num_classes = slots, num_classes
        self.images, self.confidences = like.new_zeros(0, 3, 1, 1), like.new_zeros(0)
        self.labels = torch.zeros(0, dtype=torch.long, device=like.device)
        self._count()

    def insert(self, images: Tensor, labels: Tensor, confidences: Tensor) -> None:
        """Offer images ``[B, 3, H, W]`` with predicted classes and confidences ``[B]``.

        Waits for the device: how many images there are decides the size of what follows.
        """
        if len(self.images):
            images = torch.cat([self.images, images])
        labels = torch.cat([self.labels, labels])
        confidences = torch.cat([self.confidences, confidences])
        order = confidences.nan_to_num(nan=-torch.inf).sort(descending=True, stable=True).indices
        order = order[labels[order].sort(stable=True).indices]
        of_class = labels[order]
        rank = torch.arange(len(order), device=order.device) - torch.searchsorted(
            of_class, of_class
        )
        kept = order[(rank < self.slots) & confidences[order].isfinite()]
        self.images, self.labels, self.confidences = images[kept], labels[kept], confidences[kept]
        self._count()

    def _count(self) -> None:
        self.counts = self.labels.bincount(minlength=self.num_classes).tolist()

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Return images ``[n, 3, H, W]``, of every class at most ``count / C`` but at least one.

        Args:
            count: of all classes together.
            generator: on the host, draws from classes that have more.
        """
        each, start, rows = max(1, count // self.num_classes), 0, []
        if max(self.counts) <= each:
            return self.images
        for held in self.counts:
            drawn = torch.randperm(held, generator=generator) if held > each else torch.arange(held)
            rows.append(start + drawn[:each])
            start += held
        return self.images[from_host(torch.cat(rows), self.images.device)]

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes."""
        return {name: getattr(self, name).clone() for name in _PARTS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        for name in _PARTS:
            setattr(self, name, state[name].to(self.images.device))
        self._count()
