"""Small stores of test images, balanced over the classes that are predicted for them.

Arrivals are placed one after the other, as each depends on what those before it have displaced;
every decision is a mask over the slots on the device, and the host waits only in
:meth:`MemoryBank.occupied_slots`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tta.ops.generators import generator_on
from tta.ops.losses import entropy


def arrivals_until_due(seen: int, count: int, interval: int) -> list[slice]:
    """Cut a batch of ``count`` arrivals where an update is due, after every ``interval``-th.

    Args:
        seen: arrivals before this batch.
        count: images of this batch.
        interval: arrivals from one update to the next.
    """
    ends = [*range(interval - seen % interval, count, interval), count]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


class MemoryBank:
    """At most ``capacity`` images, each in a slot of its own with the class predicted for it.

    Images whose logits are not finite are not stored.

    Args:
        capacity: number of slots, N.
        num_classes: C.
        device: where decisions are made and images kept.

    Attributes:
        images: ``[N, 3, H, W]``; None until the first arrival.
        labels: predicted classes ``[N]``; C in a free slot.
    """

    tensors: tuple[str, ...] = ("images", "labels")
    """Names of the attributes that make up the state."""

    def __init__(self, capacity: int, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.capacity = capacity
        self.num_classes = num_classes
        self.images: Tensor | None = None
        self.labels = torch.full((capacity,), num_classes, device=device)
        self._slots = torch.arange(capacity, device=device)

    @property
    def occupied(self) -> Tensor:
        """Mask of the slots that hold an image, ``[N]``."""
        return self.labels < self.num_classes

    def occupied_slots(self) -> Tensor:
        """Return the indices ``[n]`` of the slots that hold an image; waits for the device."""
        return self.occupied.nonzero().squeeze(1)

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes."""
        return {name: getattr(self, name) for name in self.tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        for name in self.tensors:
            value = state[name]
            setattr(self, name, None if value is None else value.to(self.labels.device))

    def _class_counts(self) -> Tensor:
        """Images of the class that each slot holds, ``[N]``; 0 in a free slot."""
        return (self.labels[:, None] == self.labels).sum(1) * self.occupied

    def _occupy(self, slot: Tensor, label: Tensor) -> Tensor:
        """Give a slot (N for none) to an arrival and return a mask of it ``[N]``."""
        taken = self._slots == slot
        self.labels = torch.where(taken, label, self.labels)
        return taken

    def _store(self, images: Tensor, slots: list[Tensor]) -> None:
        """Put each image into its slot; the last of those given the same one stays."""
        last = self.labels.new_full((self.capacity + 1,), -1)
        arrivals = torch.arange(len(images), device=self.labels.device)
        last = last.scatter_reduce(0, torch.stack(slots), arrivals, "amax")[:-1]
        if self.images is None:
            self.images = images[:1].expand(self.capacity, -1, -1, -1)
        renewed = (last >= 0).view(-1, 1, 1, 1)
        self.images = torch.where(renewed, images[last.clamp_min(0)], self.images)


class TimelyBank(MemoryBank):
    """Category-balanced sampling with timeliness and uncertainty (CSTU) of RoTTA.

    The score of an image, the higher the sooner displaced, is

        age_weight / (1 + exp(-age / N)) + uncertainty_weight * entropy / ln C

    with its age in arrivals. An arrival whose class has fewer than N / C images takes a free slot,
    or the place of the highest score among the largest classes; an arrival of another class that
    of the highest score in its own. It is turned away where that score is not above its own
    (Yuan et al., CVPR 2023, algorithm 1).

    Attributes:
        age: arrivals since an image was stored ``[N]``, itself included.
        uncertainty: entropy of the logits at its arrival ``[N]``, nats.
    """

    tensors = (*MemoryBank.tensors, "age", "uncertainty")

    def __init__(
        self,
        capacity: int,
        num_classes: int,
        device: torch.device | str = "cpu",
        age_weight: float = 1.0,
        uncertainty_weight: float = 1.0,
    ) -> None:
        super().__init__(capacity, num_classes, device)
        self.age_weight = age_weight
        self.uncertainty_weight = uncertainty_weight
        self.age = torch.zeros(capacity, device=device)
        self.uncertainty = torch.zeros(capacity, device=device)

    def insert(self, images: Tensor, logits: Tensor) -> None:
        """Offer images ``[B, 3, H, W]`` in their order, with the logits ``[B, C]`` of each."""
        facts = logits.argmax(1), entropy(logits), logits.isfinite().all(1)
        slots = [self._place(*arrival) for arrival in zip(*map(Tensor.unbind, facts), strict=True)]
        self._store(images, slots)

    def _place(self, label: Tensor, uncertainty: Tensor, finite: Tensor) -> Tensor:
        occupied, own, counts = self.occupied, self.labels == label, self._class_counts()
        largest = torch.where(occupied.all(), counts == counts.max(), ~occupied)
        open_to_it = torch.where(own.sum() < self.capacity / self.num_classes, largest, own)
        scores = torch.where(occupied, self._score(self.age, self.uncertainty), torch.inf)
        highest, slot = torch.where(open_to_it, scores, -torch.inf).max(0)
        accepted = finite & (highest > self._score(torch.zeros_like(uncertainty), uncertainty))
        slot = torch.where(accepted, slot, self.capacity)
        taken = self._occupy(slot, label)
        self.uncertainty = torch.where(taken, uncertainty, self.uncertainty)
        self.age = torch.where(taken, 0, self.age) + 1
        return slot

    def _score(self, age: Tensor, uncertainty: Tensor) -> Tensor:
        timeliness = self.age_weight * torch.sigmoid(age / self.capacity)
        return timeliness + self.uncertainty_weight * uncertainty / math.log(self.num_classes)


class BalancedReservoir(MemoryBank):
    """Prediction-balanced reservoir sampling (PBRS) of NOTE.

    Once all slots are taken, an arrival of a class that is not among the largest takes the place
    of a random image of those. One of a largest class takes that of a random image of its own,
    with probability (stored / seen images of the class), or is turned away (Gong et al.,
    NeurIPS 2022, algorithm 1).

    Attributes:
        seen: arrivals of every class so far ``[C]``.
    """

    tensors = (*MemoryBank.tensors, "seen")

    def __init__(self, capacity: int, num_classes: int, device: torch.device | str = "cpu") -> None:
        super().__init__(capacity, num_classes, device)
        self.seen = torch.zeros(num_classes, dtype=torch.long, device=device)

    def insert(self, images: Tensor, logits: Tensor, generator: torch.Generator) -> None:
        """Offer images ``[B, 3, H, W]`` in their order, with the logits ``[B, C]`` of each.

        Args:
            images: on the bank's device.
            logits: of these images.
            generator: CPU generator that decides what is displaced.
        """
        device = self.labels.device
        drawn = torch.rand(
            len(images),
            self.capacity + 1,
            generator=generator_on(device, generator),
            device=device,
        )
        facts = logits.argmax(1), logits.isfinite().all(1), drawn
        slots = [self._place(*arrival) for arrival in zip(*map(Tensor.unbind, facts), strict=True)]
        self._store(images, slots)

    def _place(self, label: Tensor, finite: Tensor, drawn: Tensor) -> Tensor:
        """Place one arrival, given numbers ``[N + 1]`` drawn uniformly from [0, 1)."""
        self.seen.index_add_(0, label[None], finite.long()[None])
        occupied, own, counts = self.occupied, self.labels == label, self._class_counts()
        largest = counts == counts.max()
        among_largest = (own & largest).any()
        full = occupied.all()
        open_to_it = torch.where(full, torch.where(among_largest, own, largest), ~occupied)
        slot = torch.where(open_to_it, drawn[1:], -1.0).argmax()
        # Not seen[label]: that reads the label on the host.
        share = own.sum() / self.seen.index_select(0, label[None])[0].clamp_min(1)
        accepted = finite & (~(full & among_largest) | (drawn[0] <= share))
        slot = torch.where(accepted, slot, self.capacity)
        self._occupy(slot, label)
        return slot
