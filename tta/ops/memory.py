"""Small stores of test images, balanced over the classes that are predicted for them.

Arrivals are placed one after the other, as each depends on what those before it have displaced.
That is decided on the host, from numbers that are read from the device once; images stay there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tta.foundation.from_host import from_host
from tta.ops.losses import entropy
from tta.ops.views.layout import memory_format_of


def arrivals_until_due(seen: int, count: int, interval: int) -> list[slice]:
    """Cut a batch of ``count`` arrivals where an update is due, after every ``interval``-th.

    Args:
        seen: arrivals before this batch.
        count: images of this batch.
        interval: arrivals from one update to the next.
    """
    ends = [*range(interval - seen % interval, count, interval), count]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def array_of(values: Tensor) -> np.ndarray:
    """Return a view of a tensor on the host."""
    return values.numpy()


def predicted_classes(logits: Tensor) -> Tensor:
    """Return the classes ``[B]`` that logits ``[B, C]`` predict; C where they are not finite."""
    finite = logits.abs().amax(1) < torch.inf
    return torch.where(finite, logits.argmax(1), logits.shape[1])


class Census:
    """Which class each slot holds, and how many slots hold each.

    Args:
        labels: of the slots ``[N]``, C in a free one; :meth:`occupy` changes them.
        num_classes: C.
    """

    def __init__(self, labels: Tensor, num_classes: int) -> None:
        self.labels = array_of(labels)
        self.held = np.bincount(self.labels, minlength=num_classes + 1)

    @property
    def full(self) -> bool:
        """Whether no slot is free."""
        return not self.held[-1]

    @property
    def largest(self) -> int:
        """Images of a largest class."""
        return self.held[:-1].max()

    def slots(self, label: int) -> np.ndarray:
        """Return the slots of a class; of C, those that are free."""
        return np.flatnonzero(self.labels == label)

    def slots_of_largest(self) -> np.ndarray:
        """Return the slots of the largest classes, where none is free."""
        return np.flatnonzero(self.held[self.labels] == self.largest)

    def occupy(self, slot: int, label: int) -> None:
        """Give a slot to an image of a class."""
        self.held[self.labels[slot]] -= 1
        self.held[label] += 1
        self.labels[slot] = label


class MemoryBank:
    """At most ``capacity`` images, each in a slot of its own with the class predicted for it.

    Images whose logits are not finite are not stored.

    Args:
        capacity: number of slots, N.
        num_classes: C.
        device: where images are kept; all else is on the host.

    Attributes:
        images: ``[N, 3, H, W]``; None until the first arrival.
        labels: predicted classes ``[N]``; C in a free slot.
    """

    tensors: tuple[str, ...] = ("images", "labels")
    """Names of the attributes that make up the state."""

    def __init__(self, capacity: int, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.capacity = capacity
        self.num_classes = num_classes
        self.device = torch.device(device)
        self.images: Tensor | None = None
        self.labels = torch.full((capacity,), num_classes)

    def occupied_slots(self) -> Tensor:
        """Return the indices ``[n]`` of the slots that hold an image, on the host."""
        return torch.from_numpy(np.flatnonzero(array_of(self.labels) < self.num_classes))

    def images_in(self, slots: Tensor) -> Tensor:
        """Return the images ``[n, 3, H, W]`` of slots that are named on the host."""
        return self.images[self.to_device(slots)]

    def to_device(self, values: Tensor) -> Tensor:
        """Return host values on the images' device; nothing waits for that."""
        return from_host(values, self.device)

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes."""
        return {name: getattr(self, name) for name in self.tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`.

        Raises:
            ValueError: it is of a bank of another capacity, or of other classes.
        """
        self._check_fits(state)
        for name in self.tensors:
            value = state[name]
            device = self.device if name == "images" else "cpu"
            setattr(self, name, None if value is None else value.to(device))

    def _check_fits(self, state: dict[str, Any]) -> None:
        for name in self.tensors:
            own, given = getattr(self, name), state[name]
            fits = given is None or own is None or given.shape == own.shape
            if name != "images" and not (fits and given is not None and given.dtype == own.dtype):
                raise ValueError(f"{name} of a bank are {getattr(given, 'shape', None)}")
        labels, images = state["labels"], state["images"]
        if labels.min() < 0 or labels.max() > self.num_classes:
            raise ValueError(f"classes of a bank go from {labels.min()} to {labels.max()}")
        if images is not None and len(images) != self.capacity:
            raise ValueError(f"a bank of {len(images)} images, not {self.capacity}")

    def _read(self, labels: Tensor, *facts: Tensor) -> tuple[list[int], Tensor]:
        """Return predicted classes and facts ``[B]`` on the host.

        Waits for the device: where an image goes depends on all of them.
        """
        read = torch.stack([labels.float(), *facts]).cpu()  # float32 holds integers up to 2**24
        return array_of(read[0]).astype(int).tolist(), read[1:]

    def _store(self, images: Tensor, arrivals: dict[int, int]) -> None:
        """Put images into slots: ``{slot: number of the image}``."""
        if self.images is None:
            empty = images[:1].expand(self.capacity, -1, -1, -1)
            self.images = empty.clone(memory_format=memory_format_of(images))
        if arrivals:
            pairs = torch.tensor([[*arrivals], [*arrivals.values()]])
            slots, chosen = self.to_device(pairs)
            self.images.index_copy_(0, slots, images[chosen])


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
        self.age = torch.zeros(capacity)
        self.uncertainty = torch.zeros(capacity)
        self._young: np.ndarray | None = None

    def insert(self, images: Tensor, logits: Tensor, predicted: Tensor | None = None) -> None:
        """Offer images ``[B, 3, H, W]`` in their order, with the logits ``[B, C]`` of each.

        Args:
            images: on the bank's device.
            logits: of these images.
            predicted: their :func:`predicted_classes`, where they are known already.
        """
        predicted = predicted_classes(logits) if predicted is None else predicted
        labels, (uncertainty,) = self._read(predicted, entropy(logits))
        arrivals = self._place(labels, uncertainty)
        self._store(images, arrivals)
        slots, stored, age = [*arrivals], [*arrivals.values()], array_of(self.age)
        age += len(labels)
        age[slots] = len(labels) - np.array(stored, np.float32)
        array_of(self.uncertainty)[slots] = array_of(uncertainty)[stored]

    def _place(self, labels: list[int], uncertainty: Tensor) -> dict[int, int]:
        """Return which arrival each slot holds in the end, where it is a new one."""
        count, census = len(labels), Census(self.labels, self.num_classes)
        young = self._youth(count)
        doubt = self._doubt(uncertainty)
        scores = self._timeliness(array_of(self.age), count) + self._doubt(self.uncertainty)
        scores[:, census.slots(self.num_classes)] = np.inf
        arrivals = {}
        for number, label in enumerate(labels):
            if label == self.num_classes:
                continue
            slots = self._open_to(label, census)
            slot = int(slots[scores[number, slots].argmax()])
            if scores[number, slot] > young[0, slot] + doubt[number]:
                census.occupy(slot, label)
                scores[number + 1 :, slot] = young[1 : count - number, slot] + doubt[number]
                arrivals[slot] = number
        return arrivals

    def _open_to(self, label: int, census: Census) -> np.ndarray:
        if census.held[label] >= self.capacity / self.num_classes:
            return census.slots(label)
        return census.slots_of_largest() if census.full else census.slots(self.num_classes)

    def _youth(self, count: int) -> np.ndarray:
        """Return the parts by age of images that arrive now; batches mostly have one size."""
        if self._young is None or len(self._young) != count:
            self._young = self._timeliness(np.zeros(self.capacity, np.float32), count)
        return self._young

    def _timeliness(self, age: np.ndarray, count: int) -> np.ndarray:
        """Return a score's part by age, ``[count, N]``: now and after each further arrival."""
        # Rows that do not adjoin in memory: torch's sigmoid then has the bits of one row alone.
        ages = np.empty((count, len(age) + 1), np.float32)[:, :-1]
        ages[:] = (age + np.arange(count, dtype=np.float32)[:, None]) / np.float32(self.capacity)
        return np.float32(self.age_weight) * array_of(torch.sigmoid(torch.from_numpy(ages)))

    def _doubt(self, uncertainty: Tensor) -> np.ndarray:
        """Return a score's part by uncertainty, of the same shape."""
        weighted = np.float32(self.uncertainty_weight) * array_of(uncertainty)
        return weighted / np.float32(math.log(self.num_classes))


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
        self.seen = torch.zeros(num_classes, dtype=torch.long)

    def insert(self, images: Tensor, logits: Tensor, generator: torch.Generator) -> None:
        """Offer images ``[B, 3, H, W]`` in their order, with the logits ``[B, C]`` of each.

        Args:
            images: on the bank's device.
            logits: of these images.
            generator: CPU generator that decides what is displaced.
        """
        drawn = torch.rand(len(images), self.capacity + 1, generator=generator)
        labels, _ = self._read(predicted_classes(logits))
        self._store(images, self._place(labels, array_of(drawn)))

    def _place(self, labels: list[int], drawn: np.ndarray) -> dict[int, int]:
        """Return which arrival each slot holds in the end, where it is a new one.

        Args:
            labels: of the arrivals.
            drawn: numbers ``[B, N + 1]`` from [0, 1).
        """
        census, seen = Census(self.labels, self.num_classes), array_of(self.seen)
        arrivals = {}
        for number, label in enumerate(labels):
            if label == self.num_classes:
                continue
            seen[label] += 1
            slots = self._open_to(label, census, drawn[number, 0])
            if len(slots):
                slot = int(slots[drawn[number, 1 + slots].argmax()])
                census.occupy(slot, label)
                arrivals[slot] = number
        return arrivals

    def _open_to(self, label: int, census: Census, drawn: np.float32) -> np.ndarray:
        """Return the slots of which an arrival takes one; none where it is turned away."""
        if not census.full:
            return census.slots(self.num_classes)
        if census.held[label] < census.largest:
            return census.slots_of_largest()
        share = np.float32(census.held[label]) / np.float32(self.seen[label])
        return census.slots(label)[: None if drawn <= share else 0]
