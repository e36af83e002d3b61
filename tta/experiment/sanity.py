"""Whether the source model knows the images of a stream at all, before figures are believed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from tta.backbones.backbone import Backbone
from tta.streams.stream import Stream

MOST = 1024
"""Images classified, at most; the first domain that the model knows ends the search."""
FROM_A_DOMAIN = 200
LEVEL = 1e-3
"""Probability at which a model that guesses is taken for one that does not."""
BATCH = 64


@dataclass(frozen=True)
class Sample:
    """Images of one or more domains.

    Attributes:
        labels: ``[N]``, those of a domain in rounds: every class once, every class twice, ...
        predicted: the source model's classes ``[N]``.
        num_classes: how many the model tells apart.
    """

    labels: np.ndarray
    predicted: np.ndarray
    num_classes: int

    @property
    def accuracy(self) -> float:
        """As a fraction."""
        return float((self.labels == self.predicted).mean())

    @property
    def chance(self) -> float:
        """The accuracy of predictions as frequent as these that do not depend on the image.

        At least 1/C; for a model that predicts one class alone, the share of that class.
        """
        uniform = 1 / self.num_classes
        if len(np.unique(self.labels)) == 1:  # where always the same is right, nothing else tells
            return uniform
        shares = [
            np.bincount(part, minlength=self.num_classes) / len(part)
            for part in (self.labels, self.predicted)
        ]
        return max(uniform, float(shares[0] @ shares[1]))

    def above_chance(self) -> bool:
        """Return whether a binomial test tells the accuracy from chance."""
        right = int((self.labels == self.predicted).sum())
        return binomial_tail(right, len(self.labels), self.chance) < LEVEL

    def renumbered(self) -> tuple[float, float] | None:
        """Return the accuracy as it is, and with other numbers of classes, where that is doubled.

        The numbers are chosen, one for one, on the first half of the images, and judged on the
        second by a sign test. None where they are no better.
        """
        half = len(self.labels) // 2
        number = _best_numbers(self.labels[:half], self.predicted[:half], self.num_classes)
        labels, predicted = self.labels[half:], self.predicted[half:]
        now, then = labels == predicted, labels == number[predicted]
        gained, lost = int((then & ~now).sum()), int((now & ~then).sum())
        if then.mean() < max(0.5, 2 * now.mean()) or not gained:
            return None
        if binomial_tail(gained, gained + lost, 0.5) >= LEVEL:
            return None
        return float(now.mean()), float(then.mean())


def source_warnings(stream: Stream, backbone: Backbone) -> tuple[str, ...]:
    """Return in words why the source model's accuracy on a stream is not to be believed.

    Domain after domain, some images of known classes are classified until one domain shows that
    the model knows them. Nothing that a run goes by is changed, but for the count of passes.

    Args:
        stream: the test stream.
        backbone: the source model as loaded, on the stream's device.
    """
    seen = []
    for sample in _samples(stream, backbone):
        swapped = sample.renumbered()
        if sample.above_chance() and swapped is None:
            return ()
        seen.append((sample, swapped))
    orders = [swapped for _, swapped in seen if swapped is not None]
    if orders:
        now, then = max(orders, key=lambda pair: pair[1])
        return (
            f"the source model is right on {now:.1%} of the images, and would be on {then:.1%} if "
            "its outputs were numbered otherwise: its classes seem to be in another order than "
            "those of the data; pass --classes FILE with its class names in order, or mend the "
            "labels",
        )
    samples = [sample for sample, _ in seen]
    whole = Sample(
        np.concatenate([sample.labels for sample in samples]),
        np.concatenate([sample.predicted for sample in samples]),
        backbone.num_classes,
    )
    if whole.above_chance():
        return ()
    return (
        f"the source model is at chance: it is right on {whole.accuracy:.1%} of "
        f"{len(whole.labels):,} images of the stream, where guessing gets {whole.chance:.1%}; "
        "the usual causes are the order of classes (--classes), the normalisation (--mean, "
        "--std) and the size of the images (--input-size)",
    )


def _samples(stream: Stream, backbone: Backbone) -> Iterator[Sample]:
    plan, labels = stream.plan, stream.labels()
    known = labels >= 0
    numbers = list(dict.fromkeys(plan.domain[known].tolist()))[: MOST // 16]
    count = min(FROM_A_DOMAIN, MOST // len(numbers))
    for number in numbers:
        rows = np.flatnonzero((plan.domain == number) & known)
        rows = rows[plan.severity[rows] == plan.severity[rows].min()]
        rows = _in_rounds(rows, labels[rows])[:count]
        yield Sample(labels[rows], _predicted(stream, backbone, rows), backbone.num_classes)


def _in_rounds(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return rows in rounds of one row of every class, in random order, the same at every call."""
    shuffle = np.random.default_rng(0).permutation(len(rows))
    rows, labels = rows[shuffle], labels[shuffle]
    by_class = np.argsort(labels, kind="stable")
    ordered = labels[by_class]
    place = np.empty(len(rows), np.int64)
    place[by_class] = np.arange(len(rows)) - np.searchsorted(ordered, ordered)
    return rows[np.argsort(place, kind="stable")]


@torch.no_grad()
def _predicted(stream: Stream, backbone: Backbone, rows: np.ndarray) -> np.ndarray:
    size = min(BATCH, stream.longest)
    parts = [rows[first : first + size] for first in range(0, len(rows), size)]
    return np.concatenate([backbone(stream.images(part)).argmax(1).cpu().numpy() for part in parts])


def _best_numbers(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    pairs, counts = np.unique(np.stack([predicted, labels]), axis=1, return_counts=True)
    return best_numbers(pairs, counts, num_classes)


def best_numbers(pairs: np.ndarray, counts: np.ndarray, num_classes: int) -> np.ndarray:
    """Return a label for every predicted class, one for one, the most frequent pairs first.

    Args:
        pairs: predicted classes and the labels that they meet ``[2, K]``.
        counts: how often ``[K]``.
        num_classes: C.

    Returns:
        ``[C]``, -1 for a class that is never predicted, or left over.
    """
    number = np.full(num_classes, -1)
    for predicted_class, label in pairs[:, np.argsort(-counts, kind="stable")].T:
        if number[predicted_class] < 0 and label not in number:
            number[predicted_class] = label
    return number


def binomial_tail(successes: int, trials: int, probability: float) -> float:
    """Return the probability of at least so many successes."""
    if successes == 0 or probability >= 1:
        return 1.0
    log_odds = (math.log(probability), math.log1p(-probability))
    log_terms = (
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * log_odds[0]
        + (trials - k) * log_odds[1]
        for k in range(successes, trials + 1)
    )
    return min(1.0, sum(math.exp(term) for term in log_terms))
