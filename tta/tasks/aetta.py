"""AETTA: accuracy estimated without labels, and when an estimate calls for a reset.

Lee et al., "AETTA: label-free accuracy estimation for test-time adaptation", CVPR 2024, as its
authors' code has it: https://github.com/taeckyung/AETTA
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # options are resolved before torch is imported
    from torch import Tensor

PASSES = 10
"""Forward passes with dropout for each batch."""
RATES = ((10, 0.4), (200, 0.3))
"""Published dropout rates up to so many classes: of CIFAR-10; of CIFAR-100 and ImageNet-R."""
MOST_CLASSES_RATE = 0.2
"""The published rate of ImageNet-C, for all beyond."""
SMOOTHING = 0.6
"""Share of the error before in that after a batch."""
LOWEST = 0.20
"""Estimated accuracy below which a method is reset."""
FALL = 0.02
"""Fall of the mean over :data:`WINDOW` batches, against as many before, at which it is too."""
WINDOW = 5


def dropout_rate(classes: int) -> float:
    """Return the published dropout rate for a number of classes."""
    return next((rate for most, rate in RATES if classes <= most), MOST_CLASSES_RATE)


def disagreement(log_p: Tensor, dropped: Tensor) -> tuple[Tensor, Tensor]:
    """Return how often dropout changes a prediction, and the entropy (nats) of the mean output.

    Args:
        log_p: log-probabilities ``[B, C]`` without dropout; NaN agrees with nothing.
        dropped: with dropout ``[N, B, C]``, in as many passes.
    """
    known = ~log_p.isnan().any(1) & ~dropped.isnan().any(2)
    agrees = (dropped.argmax(2) == log_p.argmax(1)) & known
    mean = dropped.exp().mean((0, 1))
    return 1 - agrees.float().mean(), -(mean * (mean + 1e-6).log()).sum()


def penalised(error: Tensor, entropy: Tensor, classes: int) -> Tensor:
    """Return the error of a batch, larger where the mean output tells of a collapse.

    Args:
        error: disagreement, from 0 to 1.
        entropy: of the mean output, in nats; what is no number gives the greatest error.
        classes: C; ln C is rounded to four digits, as it was typed.
    """
    greatest = 1 - 1 / classes
    raw = error / (entropy / round(math.log(classes), 4)) ** 3
    return raw.nan_to_num(greatest).clamp(0, greatest)


def smoothed(before: Tensor | None, error: Tensor, entropy: Tensor, classes: int) -> Tensor:
    """Return the running error after a batch; see :func:`penalised`.

    Args:
        before: the running error; None before the first batch, whose plain disagreement it starts
            from.
        error: see above.
        entropy: see above.
        classes: see above.
    """
    start = error if before is None else before
    return SMOOTHING * start + (1 - SMOOTHING) * penalised(error, entropy, classes)


class ResetRule:
    """Says when to reset a method, from estimates that have come since the latest reset.

    Attributes:
        estimates: the latest, at most twice :data:`WINDOW`, fractions.
    """

    def __init__(self, estimates: Sequence[float] = ()) -> None:
        self.estimates = list(estimates)

    def is_due(self, estimate: float) -> bool:
        """Take the estimate of a batch, and return whether to reset after it."""
        self.estimates = [*self.estimates, estimate][-2 * WINDOW :]
        due = estimate < LOWEST or self._has_fallen()
        if due:
            self.forget()
        return due

    def _has_fallen(self) -> bool:
        if len(self.estimates) < 2 * WINDOW:
            return False
        halves = (self.estimates[:WINDOW], self.estimates[WINDOW:])
        before, latest = (sum(half) / WINDOW for half in halves)
        return latest + FALL < before

    def forget(self) -> None:
        """Start anew, as where the method was reset."""
        self.estimates = []


def mean_confidence(log_p: Tensor, temperature: float = 2.0) -> Tensor:
    """Return the mean largest probability of log-probabilities ``[B, C]``, a scalar.

    The baseline beside AETTA: outputs softened by a temperature; NaN counts as no confidence.
    """
    return (log_p / temperature).softmax(1).amax(1).nan_to_num(0.0).mean()
