"""What outputs tell without labels: figures by which hyper-parameters are chosen."""

from __future__ import annotations

import torch
from torch import Tensor

TEMPERATURE = 0.05
"""Of the similarities in :func:`neighbourhood_density`, as published."""
ROWS = 500
"""Outputs whose similarities to all others are held at once."""


def entropies(log_p: Tensor) -> Tensor:
    """Return the entropies ``[B]`` in nats of log-probabilities ``[B, C]``, from 0 to ln C."""
    p = log_p.exp()
    return -torch.special.xlogy(p, p).sum(1)


def information(mean_p: Tensor, mean_entropy: Tensor) -> Tensor:
    """Return the mutual information ``[...]`` of image and class, in nats, from 0 to ln C.

    The entropy of the mean output less the mean entropy (Krause et al., NeurIPS 2010): high where
    outputs are certain and not all of one class.

    Args:
        mean_p: mean probabilities ``[..., C]``.
        mean_entropy: of the outputs ``[...]``.
    """
    return -torch.special.xlogy(mean_p, mean_p).sum(-1) - mean_entropy


def neighbourhood_density(log_p: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return the soft neighbourhood density of log-probabilities ``[N, C]``, a scalar.

    Saito et al., "Tune it the right way", ICCV 2021: the mean entropy in nats, from 0 to
    ln(N - 1), of the softmax over each output's cosine similarities to all others. High where
    every output has many that are like it. Not a number for a single one.
    """
    p = torch.nn.functional.normalize(log_p.exp(), dim=1)
    total = p.new_zeros(())
    for first in range(0, len(p), ROWS):
        similar = p[first : first + ROWS] @ p.T / temperature
        similar.diagonal(first).fill_(-torch.inf)  # to itself
        total += entropies(similar.log_softmax(1)).sum()
    return total / len(p)


def agreement(log_p: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return whether two outputs of each image agree, and their cross-entropy, ``[B]`` each.

    Args:
        log_p: log-probabilities ``[B, C]``, whose probabilities weight the cross-entropy (nats).
        other: log-probabilities of another view of the same images.
    """
    agrees = log_p.argmax(1) == other.argmax(1)
    terms = log_p.exp() * other
    return agrees, -terms.where(log_p > -torch.inf, 0.0).sum(1)
