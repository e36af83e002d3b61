"""Sums on the device from which figures without labels follow, one row per visit to a domain."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tta.tasks.unlabelled import agreement, entropies, information, neighbourhood_density

CHUNK = 5000
"""Outputs whose neighbourhoods are judged together, at most; the figure is the chunks' mean."""
Figures = dict[str, tuple[float, np.ndarray]]
"""By name: over all images, and by visit ``[V]``; NaN where it is no number."""


class Gathering(Protocol):
    """What gathers one kind of evidence."""

    def note(self, visit: int, rows: Tensor, is_last: bool) -> None:
        """Take log-probabilities of images of a visit, which may be its last."""

    def figures(self, seen: np.ndarray) -> Figures:
        """Return what was gathered of so many images ``[V]`` of each visit."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Sums:
    """Sums over the images of each visit, by name.

    Args:
        shapes: of the sums of one visit.
        visits: rows.
        device: where they are.
    """

    def __init__(
        self, shapes: dict[str, tuple[int, ...]], visits: int, device: torch.device | str
    ) -> None:
        self.sums = {
            name: torch.zeros(visits, *shape, device=device) for name, shape in shapes.items()
        }

    def _means(self, name: str, seen: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the mean over all images, and by visit."""
        sums = self.sums[name][: len(seen)].cpu().double()
        counts = torch.from_numpy(seen).double().reshape(-1, *[1] * (sums.ndim - 1))
        return sums.sum(0) / counts.sum(), sums / counts

    def state_dict(self) -> dict[str, Any]:
        return {name: sums.cpu().clone() for name, sums in self.sums.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, sums in self.sums.items():
            if state[name].shape != sums.shape:
                raise ValueError(f"{name} is of the shape {tuple(state[name].shape)}")
            sums.copy_(state[name])


class Information(Sums):
    """Mean output and mean entropy; the mutual information of image and class from both.

    Over all images it is that of their mean output, not the mean over visits.
    """

    def __init__(self, visits: int, classes: int, device: torch.device | str) -> None:
        super().__init__({"p": (classes,), "entropy": ()}, visits, device)

    def note(self, visit: int, rows: Tensor, is_last: bool) -> None:
        self.sums["p"][visit] += rows.exp().sum(0)
        self.sums["entropy"][visit] += entropies(rows).sum()

    def figures(self, seen: np.ndarray) -> Figures:
        p, entropy = self._means("p", seen), self._means("entropy", seen)
        total, visits = (information(*pair) for pair in zip(p, entropy, strict=True))
        return {"infomax": (total.item(), visits.numpy())}


class Agreements(Sums):
    """Of two views of each image: how often they agree, and their cross-entropy."""

    def __init__(self, visits: int, device: torch.device | str) -> None:
        super().__init__({"agrees": (), "cross_entropy": ()}, visits, device)

    def note(self, visit: int, rows: Tensor, is_last: bool) -> None:
        agrees, cross = agreement(*rows)
        known = rows.isnan().any(2).any(0).logical_not()
        self.sums["agrees"][visit] += agrees.float().where(known, torch.nan).sum()
        self.sums["cross_entropy"][visit] += cross.sum()

    def figures(self, seen: np.ndarray) -> Figures:
        means = {name: self._means(name, seen) for name in self.sums}
        agrees, cross = ((total.item(), visits.numpy()) for total, visits in means.values())
        return {"consistency": agrees, "consistency_cross_entropy": cross}


class Neighbourhoods(Sums):
    """Soft neighbourhood density of the outputs of each visit, in chunks of at most :data:`CHUNK`.

    The outputs of a chunk stay on the device until it is full or the visit ends: in a mixed stream
    that is a chunk for each domain. A chunk of a single image counts for nothing.
    """

    def __init__(self, visits: int, device: torch.device | str) -> None:
        super().__init__({"density": ()}, visits, device)
        self._device = device
        self._judged = np.zeros(visits, np.int64)
        self._waiting: dict[int, list[Tensor]] = {}

    def note(self, visit: int, rows: Tensor, is_last: bool) -> None:
        waiting = self._waiting.setdefault(visit, [])
        waiting.append(rows)
        while sum(map(len, waiting)) >= CHUNK:
            whole = torch.cat(waiting)
            self._judge(visit, whole[:CHUNK])
            waiting[:] = [whole[CHUNK:]]
        if is_last:
            self._judge(visit, torch.cat(self._waiting.pop(visit)))

    def _judge(self, visit: int, chunk: Tensor) -> None:
        if len(chunk) > 1:
            self.sums["density"][visit] += neighbourhood_density(chunk) * len(chunk)
            self._judged[visit] += len(chunk)

    def figures(self, seen: np.ndarray) -> Figures:
        for visit in list(self._waiting):  # of a run that was stopped
            self._judge(visit, torch.cat(self._waiting.pop(visit)))
        with np.errstate(invalid="ignore"):
            sums = self.sums["density"].cpu().double().numpy()
            visits = sums[: len(seen)] / self._judged[: len(seen)]
            return {"snd": (sums.sum() / np.float64(self._judged.sum()), visits)}

    def state_dict(self) -> dict[str, Any]:
        waiting = {visit: torch.cat(rows).cpu() for visit, rows in self._waiting.items()}
        return {**super().state_dict(), "judged": self._judged.tolist(), "waiting": waiting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._judged[:] = state["judged"]
        waiting = state["waiting"].items()
        self._waiting = {visit: [rows.to(self._device)] for visit, rows in waiting}
