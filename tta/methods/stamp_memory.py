"""STAMP's memory: reliable images, whose classes give way by how much they held lately."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tta.ops.memory import Census, MemoryBank, array_of, predicted_classes


class StableBank(MemoryBank):
    """Reliable class-balanced memory (RBM).

    Once all slots are taken, an arrival takes the place of the oldest image of a class: a random
    one of those that held most, as a moving average over the times the bank was used (Yu et al.,
    ECCV 2024).

    Attributes:
        order: of arrival, higher for later, of what each slot holds ``[N]``.
        mean_held: moving average of the images that each class holds ``[C]``.
    """

    tensors = (*MemoryBank.tensors, "order", "mean_held")

    def __init__(self, capacity: int, num_classes: int, device: torch.device | str = "cpu") -> None:
        super().__init__(capacity, num_classes, device)
        self.order = torch.zeros(capacity, dtype=torch.long)
        self.mean_held = torch.zeros(num_classes)

    def insert(
        self, images: Tensor, logits: Tensor, kept: Tensor, generator: torch.Generator
    ) -> None:
        """Take the images ``[B, 3, H, W]`` that are kept, in their order.

        Args:
            images: on the bank's device.
            logits: of these images ``[B, C]``.
            kept: mask ``[B]``.
            generator: CPU generator that decides what is displaced.
        """
        drawn = torch.rand(len(images), generator=generator, dtype=torch.float64)
        labels, (kept,) = self._read(predicted_classes(logits), kept.to(logits.dtype))
        self._store(images, self._place(labels, array_of(kept), array_of(drawn)))

    def _place(self, labels: list[int], kept: np.ndarray, drawn: np.ndarray) -> dict[int, int]:
        """Return which arrival each slot holds in the end, where it is a new one.

        Args:
            labels: of the arrivals.
            kept: ``[B]``, 0 for what is not.
            drawn: numbers ``[B]`` from [0, 1).
        """
        census, order = Census(self.labels, self.num_classes), array_of(self.order)
        arrivals = {}
        for number, label in enumerate(labels):
            if label == self.num_classes or not kept[number]:
                continue
            slot = self._given_up(census, order, drawn[number])
            census.occupy(slot, label)
            order[slot] = order.max() + 1  # the latest of all is always there
            arrivals[slot] = number
        return arrivals

    def _given_up(self, census: Census, order: np.ndarray, drawn: float) -> int:
        """Return the slot that the next arrival takes."""
        if not census.full:
            return int(census.slots(self.num_classes)[0])
        holding = np.flatnonzero(census.held[:-1])
        mean_held = array_of(self.mean_held)[holding]
        classes = holding[mean_held == mean_held.max()]
        slots = census.slots(int(classes[int(drawn * len(classes))]))
        return int(slots[order[slots].argmin()])

    def use(self) -> Tensor:
        """Return the images ``[n, 3, H, W]``, n > 0, and note how many each class holds."""
        held = torch.bincount(self.labels, minlength=self.num_classes + 1)[:-1]
        self.mean_held = 0.9 * self.mean_held + 0.1 * held
        return self.images_in(self.occupied_slots())
