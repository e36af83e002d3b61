"""How far the features of predicted classes have moved from the source's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class ClassDivergence:
    """``1 - exp(-d)``, with d the mean of ``(mean - source mean)^2 / (variance + eps)``.

    The mean is over the classes of the batch and all dimensions. A class with fewer than two
    source features has no variance and does not count; 0 where no class does. Between 0 and 1.
    PeTTA (Hoang et al., NeurIPS 2024), section 4, as its authors' code averages.

    Args:
        source_means: ``[C, D]``.
        source_variances: ``[C, D]``.
        source_counts: source features of each class ``[C]``.
        eps: added to the variances.
    """

    def __init__(
        self,
        source_means: Tensor,
        source_variances: Tensor,
        source_counts: Tensor,
        eps: float = 1e-6,
    ) -> None:
        self._means = source_means
        self._negative_spread = -(source_variances + eps)
        self._known = (source_counts > 1)[:, None]
        self._zero = source_means.new_zeros(())

    def __call__(self, means: Tensor, present: Tensor) -> Tensor:
        """Return the divergence, a scalar.

        Args:
            means: running mean features ``[C, D]``.
            present: which classes the batch has ``[C, 1]``.
        """
        counted = present & self._known
        exponents = ((means - self._means).square() / self._negative_spread).mean(1, keepdim=True)
        exponent = torch.where(counted, exponents, self._zero).sum() / counted.sum().clamp_min(1)
        return -torch.expm1(exponent)


def class_sums(features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return the sum of the features of every class ``[C, D]``, and how many it has ``[C, 1]``.

    Args:
        features: ``[B, D]``.
        labels: classes of the features ``[B]``; C for features that are left out.
        num_classes: C.
    """
    counting = F.pad(features, (0, 1), value=1.0)
    sums = counting.new_zeros(num_classes + 1, counting.shape[1]).index_add_(0, labels, counting)
    return sums[:-1, :-1], sums[:-1, -1:]


def class_mean_update(
    means: Tensor, sums: Tensor, counts: Tensor, present: Tensor, momentum: float
) -> Tensor:
    """Return running class means moved to those of a batch by ``momentum``.

    Args:
        means: ``[C, D]``; those of classes without a feature stay.
        sums: of the batch's features, see :func:`class_sums`.
        counts: of the batch's features, likewise.
        present: ``counts > 0``.
        momentum: between 0 and 1.
    """
    return torch.where(present, means.lerp(sums / counts, momentum), means)
