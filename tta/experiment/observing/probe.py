"""What adapting makes a method forget: its accuracy on clean images between domains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tta.source.source_data import SourceData
from tta.streams import StreamPlan
from tta.streams.stream import Batch
from tta.tasks.finite import finite_rows


class Predicting(Protocol):
    """What is probed."""

    outputs: str

    def predict(self, images: Tensor) -> Tensor: ...


class Recording(Protocol):
    """The recorder, as far as it is known here."""

    def update(self, batch: Batch, outputs: Tensor, counted: Tensor | None) -> None: ...

    def restart_clock(self) -> None: ...

    def apart(self) -> AbstractContextManager[None]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Probe:
    """Classifies the same clean images each time; the method is left as it is.

    Batch-norm layers that normalise by the batch at hand do so here: what is measured is what the
    method would answer. Waits for the device once a probe.

    Args:
        method: prepared.
        clean: the images, of which the first ``samples`` of a fixed random order are shown.
        samples: how many.
    """

    def __init__(self, method: Predicting, clean: SourceData, samples: int) -> None:
        self.method, self.clean = method, clean
        self.rows = np.random.default_rng(len(clean)).permutation(len(clean))[:samples]

    @torch.no_grad()
    def accuracy(self) -> float:
        """Return the share of the images that the method classifies rightly now."""
        right = [self._right(*batch).sum() for batch in self._batches()]
        return int(torch.stack(right).sum()) / len(self.rows)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.clean.batches(list(self.clean.parts(self.rows)))

    def _right(self, images: Tensor, labels: Tensor) -> Tensor:
        outputs = self.method.predict(images)
        return (outputs.argmax(1) == labels) & finite_rows(outputs, self.method.outputs)


class ProbedRecorder:
    """Passes every batch on to the recorder, and probes the method where a domain has ended.

    Args:
        recorder: sees every batch first; what the probe takes is no cost of the method.
        probe: measures.
        plan: of the stream.
        apart: context in which a probe's memory is not the run's.

    Attributes:
        accuracies: before the stream, and after each of :func:`domain_ends`.
        positions: of the stream at which all but the first were measured.
    """

    def __init__(
        self,
        recorder: Recording,
        probe: Probe,
        plan: StreamPlan,
        apart: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.recorder, self.probe, self.plan, self.apart = recorder, probe, plan, apart
        self.ends = domain_ends(plan)
        self.accuracies: list[float] = []
        self.positions: list[int] = []
        self.restart_clock = recorder.restart_clock

    def update(self, batch: Batch, outputs: Tensor, counted: Tensor | None = None) -> None:
        """Show the batch to the recorder, then probe where it ends a domain."""
        self.recorder.update(batch, outputs, counted)
        ended = int((self.ends <= batch.stop).sum())
        if ended > len(self.positions):
            self.measure()
            again = ended - len(self.positions)  # domains that ended within one batch
            self.accuracies += self.accuracies[-1:] * (again - 1)
            self.positions += [batch.stop] * again

    def measure(self) -> None:
        """Probe the method."""
        with self.recorder.apart(), self.apart():
            self.accuracies.append(self.probe.accuracy())

    def figures(self) -> dict[str, Any]:
        """Return what clean accuracy was before the stream and after each domain, as fractions.

        ``mean`` is that of the accuracies ``after`` domains; ``drop`` is what was lost at the end
        of the stream, and ``worst_drop`` where most was lost.
        """
        start, *after = self.accuracies
        return {
            "dataset": self.probe.clean.dataset.name,
            "samples": len(self.probe.rows),
            "start": start,
            "after": after,
            "domains": self._domains(len(after)),
            "positions": self.positions,
            "mean": sum(after) / len(after) if after else None,
            "drop": start - after[-1] if after else None,
            "worst_drop": start - min(after) if after else None,
        }

    def _domains(self, count: int) -> list[str | None]:
        """Return the domains that the first ``count`` stretches show, None for several."""
        starts = [0, *self.ends[:-1]]
        shown = [
            np.unique(self.plan.domain[start:stop])
            for start, stop in zip(starts[:count], self.ends[:count], strict=True)
        ]
        return [self.plan.domains[found[0]] if len(found) == 1 else None for found in shown]

    def state_dict(self) -> dict[str, Any]:
        """Return the recorder's state, and what was measured."""
        probe = {"accuracies": list(self.accuracies), "positions": list(self.positions)}
        return {**self.recorder.state_dict(), "probe": probe}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.accuracies = list(state["probe"]["accuracies"])
        self.positions = list(state["probe"]["positions"])
        self.recorder.load_state_dict(state)


def domain_ends(plan: StreamPlan) -> np.ndarray:
    """Return the positions after which another domain follows, in turn, and the stream's end.

    Where domains are mixed there is the end alone.
    """
    turns = np.flatnonzero(np.diff(plan.segment)) + 1
    return np.append(turns[plan.domain[turns] != plan.domain[turns - 1]], len(plan))
