"""The order of a stream as one hashed index table, and what it may depend on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from tta.foundation.stream_options import CANONICAL


class Catalog(Protocol):
    """What a scenario may know of a data set."""

    name: str
    domains: tuple[str, ...]
    severities: tuple[int, ...]
    default_severity: int
    in_order: bool

    def labels(self, domain: str, severity: int) -> np.ndarray: ...

    def stored_order(self) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class ScenarioOptions:
    """Options of a stream.

    Attributes:
        seed: of the shuffles.
        severity: corruption severity; None for the data set's default.
        domains: which domains, in this order; None for all in the published order.
        num_samples: images per domain and severity; None for all. The same images for every
            seed, and in every domain of the same size.
        dirichlet: concentration of the label order in correlated scenarios; 0 sorts by label.
        zipf: exponent of the class proportions in the imbalanced scenario, above 1.
        order: of the domains, see :func:`tta.foundation.stream_options.parse_order`.
        visits: how often recurring scenarios visit every domain.
        markov: setting of :mod:`tta.streams.unitta`.
        class_stay: greatest probability there to stay in a class; None for the setting's.
        class_ratio: of the first class's share to the last's; likewise.
        domain_stay: greatest probability to stay in a domain; likewise.
        domain_ratio: of the first domain's share to the last's; likewise.
        most_per_state: images of the first class in the first domain; None for as many as a domain
            has of a class.
        imbalance_ratio: of the probability of the class whose turn it is to that of any other,
            in the scenario of shifting labels.
        draws: images that it draws of a domain; None for twice as many as there are.
        classes_per_batch: least and greatest number of classes of a task.
        tasks: of each domain.
        translate_by: pixels by which copies are moved.
        translate_edges: what comes in where they have left, "repeat" or "wrap".
        batch_size: images per batch.
    """

    seed: int = 1
    severity: int | None = None
    domains: tuple[str, ...] | None = None
    num_samples: int | None = None
    dirichlet: float = 0.0
    zipf: float = 2.0
    order: str = CANONICAL
    visits: int = 20
    markov: str = "nunu"
    class_stay: float | None = None
    class_ratio: float | None = None
    domain_stay: float | None = None
    domain_ratio: float | None = None
    most_per_state: int | None = None
    imbalance_ratio: float = 500_000.0
    draws: int | None = None
    classes_per_batch: tuple[int, int] = (1, 4)
    tasks: int = 1000
    translate_by: int = 1
    translate_edges: str = "repeat"
    batch_size: int = 64


SCENARIO_OPTIONS = (
    "severity",
    "dirichlet",
    "zipf",
    "visits",
    "markov",
    "class_stay",
    "class_ratio",
    "domain_stay",
    "domain_ratio",
    "most_per_state",
    "imbalance_ratio",
    "draws",
    "classes_per_batch",
    "tasks",
    "translate_by",
    "translate_edges",
)
"""Options that only some scenarios use."""


@dataclass(frozen=True)
class StreamPlan:
    """One row per sample, in stream order; all arrays have the stream's length.

    Attributes:
        domains: names that ``domain`` numbers.
        domain: number of the domain.
        severity: severity of the corruption.
        index: index of the sample in its domain.
        visit: number of the visit to a domain, by which figures are reported; in mixed streams
            the domain's number.
        segment: samples of different segments are never in one batch, unless batches are
            contiguous.
        reset_before: whether the method is reset before this sample.
        adaptation: whether the sample is one to adapt to, whose figure does not count; to all
            others the method is frozen then. None: it adapts to all, and all count.
        shift: how far the image is moved before it is shown ``[N, 2]``, in pixels of its own size
            down and to the right; with a third column ``[N, 3]``, which is 1 for images whose
            opposite sides are joined. None: no image is.
    """

    domains: tuple[str, ...]
    domain: np.ndarray
    severity: np.ndarray
    index: np.ndarray
    visit: np.ndarray
    segment: np.ndarray
    reset_before: np.ndarray
    adaptation: np.ndarray | None = None
    shift: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def counted(self) -> np.ndarray:
        """Whether the figure of each sample counts ``[N]``."""
        return np.ones(len(self), bool) if self.adaptation is None else ~self.adaptation

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the table."""
        sha = hashlib.sha256(json.dumps(self.domains).encode())
        columns = [self.domain, self.severity, self.index, self.segment, self.reset_before]
        columns += [column for column in (self.adaptation, self.shift) if column is not None]
        for column in columns:
            sha.update(np.ascontiguousarray(column, dtype="<i8").data)
        return sha.hexdigest()
