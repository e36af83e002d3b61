"""SoTTA's memory: confident images, balanced over the classes that are predicted."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tta.ops.memory import Census, MemoryBank, array_of, predicted_classes


class ConfidentBank(MemoryBank):
    """High-confidence uniform-class sampling (HUS).

    An arrival that is less confident than the threshold is turned away. Once all slots are taken,
    one of a largest class takes the place of a random image of its own class, any other that of a
    random image of the largest classes (Gong et al., NeurIPS 2023, algorithm 1).

    Args:
        capacity: number of slots, N.
        num_classes: C.
        threshold: least confidence, between 0 and 1.
        device: where images are kept.
    """

    def __init__(
        self,
        capacity: int,
        num_classes: int,
        threshold: float,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(capacity, num_classes, device)
        self.threshold = threshold

    def insert(self, images: Tensor, logits: Tensor, generator: torch.Generator) -> None:
        """Offer images ``[B, 3, H, W]`` in their order, with the logits ``[B, C]`` of each.

        Args:
            images: on the bank's device.
            logits: of these images.
            generator: CPU generator that decides what is displaced.
        """
        drawn = torch.rand(len(images), generator=generator, dtype=torch.float64)
        labels, (confidence,) = self._read(predicted_classes(logits), logits.softmax(1).amax(1))
        self._store(images, self._place(labels, array_of(confidence), array_of(drawn)))

    def _place(
        self, labels: list[int], confidence: np.ndarray, drawn: np.ndarray
    ) -> dict[int, int]:
        """Return which arrival each slot holds in the end, where it is a new one.

        Args:
            labels: of the arrivals.
            confidence: of the arrivals ``[B]``.
            drawn: numbers ``[B]`` from [0, 1).
        """
        census = Census(self.labels, self.num_classes)
        arrivals = {}
        for number, label in enumerate(labels):
            if label == self.num_classes or confidence[number] < self.threshold:
                continue
            slots = self._open_to(label, census)
            slot = int(slots[int(drawn[number] * len(slots))])
            census.occupy(slot, label)
            arrivals[slot] = number
        return arrivals

    def _open_to(self, label: int, census: Census) -> np.ndarray:
        """Return the slots of which an arrival takes one."""
        if not census.full:
            return census.slots(self.num_classes)[:1]
        if census.held[label] == census.largest:
            return census.slots(label)
        return census.slots_of_largest()
