"""How much samples look known beside each other: two Gaussians over their distance to classes."""

from __future__ import annotations

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def unlikeness(features: Tensor, class_rows: Tensor) -> Tensor:
    """Return how little samples are like a class: 0 for the most alike of the batch, 1 the least.

    One minus the largest cosine between a feature ``[B, D]`` and the rows ``[C, D]`` of the
    classifier, brought to [0, 1] over the batch. Rows that are not finite are not like anything;
    where all are equally like a class, all get 0.
    """
    cosine = (F.normalize(features, dim=1) @ F.normalize(class_rows, dim=1).T).amax(1)
    finite = cosine.isfinite()
    low = torch.where(finite, cosine, torch.inf).amin()
    high = torch.where(finite, cosine, -torch.inf).amax()
    alike = (cosine - low) / (high - low).clamp_min(torch.finfo(cosine.dtype).tiny)
    return torch.where(high > low, 1 - torch.where(finite, alike, 0), 0)


def posterior_of_lower(scores: np.ndarray, seed: int) -> np.ndarray:
    """Return the probability ``[B]`` that a score is of the lower of two Gaussians, fitted to all.

    scikit-learn's mixture with its own settings. Scores that are all equal are of the lower one.

    Args:
        scores: ``[B]``, finite.
        seed: of the k-means that it starts from.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    if len(scores) == 0 or scores.min() == scores.max():
        return np.ones(len(scores), scores.dtype)
    column = scores.reshape(-1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a hundred rounds are what is asked
        mixture = GaussianMixture(2, random_state=seed).fit(column)
    return mixture.predict_proba(column)[:, mixture.means_[:, 0].argmin()].astype(scores.dtype)
