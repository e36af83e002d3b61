"""How much an image looks like one of the known classes, from its outputs alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tta.tasks.metrics import log_probabilities


def energy(outputs: Tensor, kind: str) -> Tensor:
    """Return ``logsumexp(z)`` of logits z; for probabilities, minus their entropy.

    Liu et al., Energy-based out-of-distribution detection, NeurIPS 2020, at temperature 1.
    Probabilities sum to one: their energy says nothing.
    """
    if kind == "probabilities":
        return negative_entropy(outputs, kind)
    logits = outputs.float()
    return (0.5 * logits if kind == "logit_sum" else logits).logsumexp(1)


def max_softmax(outputs: Tensor, kind: str) -> Tensor:
    """Return the largest probability. Hendrycks and Gimpel, ICLR 2017."""
    return log_probabilities(outputs, kind).amax(1).exp()


def negative_entropy(outputs: Tensor, kind: str) -> Tensor:
    """Return minus the entropy of the probabilities, in nats, from -ln C to 0."""
    log_p = log_probabilities(outputs, kind)
    return torch.special.xlogy(log_p.exp(), log_p.exp()).sum(1)


def belief(logits: Tensor) -> Tensor:
    """Return the largest belief in a class, ``max_c exp(z_c) / (sum exp(z) + C)``, below 1.

    The evidence of logits ``[B, C]`` as subjective logic takes it: COME (Zhang et al., ICLR
    2025), with the number of classes for C where the published code has 1000.
    """
    uncertainty = torch.full_like(logits[:, :1], math.log(logits.shape[1]))
    return torch.cat([logits, uncertainty], 1).log_softmax(1)[:, :-1].amax(1).exp()


KNOWN_SCORES = {"energy": energy, "max_softmax": max_softmax, "entropy": negative_entropy}
"""Scores ``[B]`` by name, higher for known, of outputs ``[B, C]`` and their declared kind."""
