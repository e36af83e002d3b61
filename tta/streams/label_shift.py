"""Labels whose distribution shifts: each class has a time at which it is the likely one.

SAR (Niu et al., ICLR 2023), after Wu et al. (NeurIPS 2021).
"""

from __future__ import annotations

import numpy as np

from tta.foundation.errors import UserError


def shifting_labels(
    classes: np.ndarray, ratio: float, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Return labels ``[N]``, drawn one by one; N is ``draws``, down to a multiple of the classes.

    Each class in turn is, for equally many draws, ``ratio`` times as likely as any other.

    Args:
        classes: in the order of their turns ``[C]``.
        ratio: see above; 1 draws all alike.
        draws: how many.
        rng: source of the draws.

    Raises:
        UserError: there are fewer draws than classes.
    """
    turns = draws // len(classes)
    if turns == 0:
        raise UserError(f"--draws {draws} is less than one for each of {len(classes)} classes")
    known = np.sort(classes)
    minor = 1 / (ratio + len(classes) - 1)
    chances = [np.where(known == label, ratio * minor, minor) for label in classes]
    return np.concatenate([rng.choice(known, turns, p=chance) for chance in chances])


def sample_of(labels: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return positions ``[N]`` of samples with the wanted labels, with replacement.

    Args:
        labels: of all samples.
        wanted: labels ``[N]``, each of which some sample has.
        rng: source of the draws, class after class.
    """
    rows = np.empty(len(wanted), np.int64)
    for label in np.unique(wanted):
        places = np.flatnonzero(wanted == label)
        rows[places] = rng.choice(np.flatnonzero(labels == label), len(places))
    return rows
