"""OWTTT's alignment: the Gaussian of test features is drawn to that of source features."""

from __future__ import annotations

import torch
from torch import Tensor

from tta.foundation.backends import full_float32

Gaussian = tuple[Tensor, Tensor]
"""A mean ``[D]`` and a covariance ``[D, D]``."""


class GaussianSums:
    """Sums up batches of features to their mean and biased covariance."""

    def __init__(self) -> None:
        self._origin: Tensor | None = None

    @full_float32()
    def add(self, features: Tensor) -> None:
        """Take features ``[B, D]``."""
        if self._origin is None:
            self._origin = features.mean(0)  # near the mean, so that squares keep their digits
            self._sum = torch.zeros_like(self._origin)
            self._squares = features.new_zeros(features.shape[1], features.shape[1])
            self._count = 0
        moved = features - self._origin
        self._sum += moved.sum(0)
        self._squares += moved.T @ moved
        self._count += len(features)

    def gaussian(self) -> Gaussian:
        """Return mean and covariance of what there has been, one feature at least."""
        mean = self._sum / self._count
        return self._origin + mean, self._squares / self._count - torch.outer(mean, mean)


@full_float32()
def follow(gaussian: Gaussian, features: Tensor, rate: float) -> Gaussian:
    """Return the Gaussian moved towards features ``[b, D]``, which the gradient flows through.

    With a rate of 1 over the number of all features so far it is that of all of them.

    Args:
        gaussian: before; no gradient.
        features: of this batch.
        rate: weight of one feature.
    """
    mean, covariance = gaussian
    apart = features - mean
    shift = rate * apart.sum(0)
    change = rate * (apart.T @ apart - len(features) * covariance)
    return mean + shift, covariance + change - torch.outer(shift, shift)


@full_float32()
def divergence(first: Gaussian, second: Gaussian, ridge: Tensor) -> Tensor:
    """Return KL(first || second) + KL(second || first), a scalar.

    Args:
        first: a Gaussian.
        second: another.
        ridge: added to the diagonals of both covariances, a scalar above 0; more where it would
            be lost in the rounding of the greater one.
    """
    eye = torch.eye(len(first[0]), device=ridge.device, dtype=ridge.dtype)
    greatest = torch.maximum(first[1].detach().amax(), second[1].detach().amax())
    # Below rounding, the inverse of a covariance of few samples would be noise.
    ridge = ridge.maximum(torch.finfo(ridge.dtype).eps * len(eye) * greatest)
    covariances = [gaussian[1] + ridge * eye for gaussian in (first, second)]
    # Not cholesky(): it looks at once, on the host, whether it has succeeded.
    inverses = [torch.cholesky_inverse(torch.linalg.cholesky_ex(c).L) for c in covariances]
    apart = first[0] - second[0]
    traces = (inverses[0] * covariances[1]).sum() + (inverses[1] * covariances[0]).sum()
    return 0.5 * (traces - 2 * len(apart) + apart @ (inverses[0] + inverses[1]) @ apart)
