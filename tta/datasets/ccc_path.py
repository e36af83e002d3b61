"""The path of CCC through pairs of corruptions and their severities (Press et al., NeurIPS 2023).

Severities lie on a grid of quarters from 0 to 5. For an ordered pair of corruptions, a path leads
from the first alone to the second alone in single steps: either the first weakens or the second
strengthens. Of the paths that a greedy search finds, the one is taken whose mean accuracy of a
source model is nearest to the difficulty's. Where a path ends, its second corruption becomes the
first of the next pair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tta.corruptions import CORRUPTIONS
from tta.foundation.errors import UserError

STEPS_PER_SEVERITY = 4
GRID = 5 * STEPS_PER_SEVERITY + 1
"""Severities 0, 0.25 .. 5."""


@dataclass(frozen=True)
class Difficulty:
    """A difficulty of the benchmark.

    Attributes:
        accuracy: mean accuracy in % that the source model has on every path.
        corruptions: those that pairs are drawn from.
    """

    accuracy: float
    corruptions: tuple[str, ...]


def _without(*left_out: str) -> tuple[str, ...]:
    return tuple(name for name in CORRUPTIONS if name not in left_out)


# Corruptions whose accuracy stays far from the target at all severities are left out.
DIFFICULTIES = {
    "easy": Difficulty(40, _without("brightness")),
    "medium": Difficulty(20, _without("brightness", "jpeg_compression")),
    "hard": Difficulty(0, ("gaussian_noise", "shot_noise", "impulse_noise", "contrast")),
}

Measure = Callable[[str, str], np.ndarray]
"""Accuracy in % ``[GRID, GRID]`` under two corruptions, by the severity of each."""


@dataclass(frozen=True)
class Step:
    """What happens to the images of one step.

    Attributes:
        corruptions: (name, severity above 0), in the order in which they are applied.
    """

    corruptions: tuple[tuple[str, float], ...]


def find_path(accuracy: np.ndarray, target: float) -> list[tuple[int, int]]:
    """Return the grid points of the path of one pair.

    From every point, the step is taken whose rest of the path, with the point itself, has the mean
    accuracy nearest to ``target``; of the starting points ``(i, 0)``, the one whose path is best.

    Args:
        accuracy: in %, ``[GRID, GRID]``, by severity of the first and of the second corruption.
        target: mean accuracy to come close to, in %.
    """
    size = len(accuracy)
    total = np.full((size, size + 1), np.inf)
    length = np.ones((size, size + 1))
    total[0, :size] = accuracy[0]
    weaken = np.zeros((size, size), bool)
    for i in range(1, size):
        for j in reversed(range(size)):
            totals = accuracy[i, j] + np.array([total[i - 1, j], total[i, j + 1]])
            lengths = 1 + np.array([length[i - 1, j], length[i, j + 1]])
            distance = np.abs(totals / lengths - target)
            weaken[i, j] = distance[0] < distance[1]
            chosen = 0 if weaken[i, j] else 1
            total[i, j], length[i, j] = totals[chosen], lengths[chosen]
    start = 1 + int(np.argmin(np.abs(total[1:, 0] / length[1:, 0] - target)))
    return _walk(weaken, start)


def _walk(weaken: np.ndarray, start: int) -> list[tuple[int, int]]:
    path = [(start, 0)]
    while path[-1][0] > 0:
        i, j = path[-1]
        path.append((i - 1, j) if weaken[i, j] else (i, j + 1))
    return path


Path = list[tuple[tuple[int, int], float]]
"""Grid points, with the accuracy at each."""


class Itinerary:
    """The endless sequence of steps; a step depends on its number, the seed and the accuracies.

    Other processes are sent the paths that are known, and not what measures further ones.

    Args:
        difficulty: which corruptions, and how hard.
        seed: of the pairs.
        measure: accuracies of the source model, asked for when a path is first needed; None where
            there is no model.
        paths: those that are known, by pair of corruptions.
    """

    def __init__(
        self,
        difficulty: Difficulty,
        seed: int,
        measure: Measure | None,
        paths: dict[tuple[str, str], Path] | None = None,
    ) -> None:
        self.difficulty = difficulty
        self.seed = seed
        self._measure = measure
        self._paths: dict[tuple[str, str], Path] = paths or {}
        self._steps: list[Step] = []
        self._accuracies: list[float] = []
        self._names = [self._draw(0, None)]

    def __reduce__(self) -> tuple[Any, ...]:
        return Itinerary, (self.difficulty, self.seed, None, self._paths)

    def __getitem__(self, number: int) -> Step:
        while number >= len(self._steps):
            self._extend()
        return self._steps[number]

    def accuracy(self, count: int) -> float:
        """Return the source model's mean accuracy in % over the first steps, as it was measured.

        Where no severity is hard enough for the difficulty, it stays above the difficulty's.
        """
        self[count - 1]
        return float(np.mean(self._accuracies[:count]))

    def _extend(self) -> None:
        first = self._names[-1]
        second = self._draw(len(self._names), first)
        self._names.append(second)
        if (first, second) not in self._paths:
            if self._measure is None:
                raise UserError("the stream was laid out up to its end, and no image is beyond it")
            accuracy = self._measure(first, second)
            path = find_path(accuracy, self.difficulty.accuracy)
            self._paths[first, second] = [(point, float(accuracy[point])) for point in path]
        for point, accuracy in self._paths[first, second]:
            self._accuracies.append(accuracy)
            severities = (quarter / STEPS_PER_SEVERITY for quarter in point)
            pair = zip((first, second), severities, strict=True)
            self._steps.append(Step(tuple((name, level) for name, level in pair if level)))

    def _draw(self, number: int, but: str | None) -> str:
        names = [name for name in self.difficulty.corruptions if name != but]
        return names[np.random.default_rng([self.seed, number]).integers(len(names))]
