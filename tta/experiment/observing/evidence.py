"""What a run shows without labels, by visit, while it streams: nothing is run a second time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tta.experiment.observing.gathering import Agreements, Gathering, Information, Neighbourhoods
from tta.foundation.from_host import from_host
from tta.ops.views.shift import shifted
from tta.streams import StreamPlan
from tta.streams.stream import Batch
from tta.tasks.finite import finite_rows
from tta.tasks.metrics import log_probabilities

Predict = Callable[[Tensor], Tensor]


class Evidence:
    """Gathers the figures of :data:`tta.config.EVIDENCE` on the device, which is not waited for.

    ``infomax`` and ``snd`` are of the outputs as the method gave them. ``consistency`` is of the
    method as it is after each batch: it predicts the batch's images, and the same ones moved by a
    few pixels. Outputs that are not finite make a figure none.

    Args:
        names: of the figures.
        plan: the stream's table.
        classes: columns of outputs.
        outputs: what the method returns, see :func:`tta.tasks.metrics.log_probabilities`.
        predict: gives outputs of images, and changes nothing.
        seed: of the views.
        device: where outputs are.
    """

    def __init__(
        self,
        names: Sequence[str],
        plan: StreamPlan,
        classes: int,
        outputs: str,
        predict: Predict,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.outputs, self.predict, self.seed = outputs, predict, seed
        self._visit = np.full(len(plan), -1)  # of images whose figures do not count
        # Numbers in order of appearance, as rows of records are:
        self._visit[plan.counted] = pd.factorize(plan.visit[plan.counted])[0]
        self._left = np.bincount(self._visit[plan.counted])
        visits = len(self._left)
        self._seen = np.zeros(visits, np.int64)
        makers = {
            "infomax": lambda: Information(visits, classes, device),
            "snd": lambda: Neighbourhoods(visits, device),
            "consistency": lambda: Agreements(visits, device),
        }
        self.gathered: dict[str, Gathering] = {name: makers[name]() for name in names}

    @torch.no_grad()
    def update(self, batch: Batch, outputs: Tensor) -> None:
        """Take one batch's outputs ``[B, C]``; the method must be between two batches."""
        log_p = log_probabilities(outputs, self.outputs)
        log_p = log_p.where(finite_rows(outputs, self.outputs)[:, None], torch.nan)
        if (self._visit[batch.start : batch.stop] < 0).all():
            return
        views = self._views(batch) if "consistency" in self.gathered else None
        for visit, rows in self._parts(batch):
            mine = log_p if rows is None else log_p[rows]
            self._seen[visit] += len(mine)
            is_last = self._seen[visit] == self._left[visit]
            for name in self.gathered.keys() & {"infomax", "snd"}:
                self.gathered[name].note(visit, mine, is_last)
            if views is not None:
                pair = views if rows is None else views[:, rows]
                self.gathered["consistency"].note(visit, pair, is_last)

    def _views(self, batch: Batch) -> Tensor:
        """Return log-probabilities ``[2, B, C]`` of a batch's images and of their weak views."""
        key = np.random.SeedSequence([self.seed, batch.start]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(key[0] >> 1))
        both = [self.predict(view) for view in (batch.images, shifted(batch.images, generator))]
        known = [finite_rows(outputs, self.outputs)[:, None] for outputs in both]
        pairs = zip(both, known, strict=True)
        return torch.stack(
            [log_probabilities(one, self.outputs).where(rows, torch.nan) for one, rows in pairs]
        )

    def _parts(self, batch: Batch) -> Iterator[tuple[int, Tensor | None]]:
        """Yield each visit whose images in a batch count, with its rows; None for all of them."""
        visits = self._visit[batch.start : batch.stop]
        present = np.unique(visits)
        for visit in present[present >= 0]:
            if len(present) == 1:
                yield int(visit), None
                return
            rows = torch.from_numpy(np.flatnonzero(visits == visit))
            yield int(visit), from_host(rows, batch.images.device)

    def figures(self) -> dict[str, Any]:
        """Return each figure over all images seen, and by visit; None where it is no number."""
        seen = self._seen[: np.count_nonzero(self._seen)]
        known: dict[str, Any] = {}
        by_visit: dict[str, list[float | None]] = {}
        for gathering in self.gathered.values():
            for name, (total, visits) in gathering.figures(seen).items():
                known[name] = _if_finite(total)
                by_visit[name] = [_if_finite(value) for value in visits]
        return {**known, "by_visit": by_visit}

    def state_dict(self) -> dict[str, Any]:
        """Return what has been gathered: tensors and plain values."""
        gathered = {name: one.state_dict() for name, one in self.gathered.items()}
        return {"seen": self._seen.tolist(), "gathered": gathered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`.

        Raises:
            ValueError: it is of another stream, or of other figures.
        """
        seen = np.array(state["seen"], np.int64)
        fits = seen.shape == self._left.shape and (seen <= self._left).all()
        if not fits or state["gathered"].keys() != self.gathered.keys():
            raise ValueError("evidence is of another stream, or of other figures")
        self._seen = seen
        for name, one in self.gathered.items():
            one.load_state_dict(state["gathered"][name])


def _if_finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
