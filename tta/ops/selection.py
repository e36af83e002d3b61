"""Which samples are worth adapting to: masks and weights ``[B]`` from entropies, probabilities.

Of segmentation a sample is a pixel, and masks and weights are ``[B, h, w]``.

EATA (Niu et al., ICML 2022) adapts to reliable and non-redundant samples; CEMA (Chen et al.,
ICLR 2024) uploads by the same measures. Nothing here waits for the device.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.ops.losses import entropy
from tta.ops.maps import class_vector


def entropy_margin(fraction: float, num_classes: int) -> float:
    """Return ``fraction`` of the greatest possible entropy, ``fraction * ln C``, in nats."""
    return fraction * math.log(num_classes)


def most_certain(logits: Tensor, share: float) -> Tensor:
    """Return which views of one image are the most certain, least entropy first.

    ``int(share N)`` of N, at least one; ties by their order. The confidence selection of TPT (Shu
    et al., NeurIPS 2022).

    Args:
        logits: ``[N, C]``.
        share: between 0 and 1.

    Returns:
        Row numbers ``[K]``.
    """
    return by_certainty(logits)[: max(1, int(share * len(logits)))]


def by_certainty(logits: Tensor) -> Tensor:
    """Return the row numbers ``[N]`` of logits ``[N, C]`` by ascending entropy, ties in order."""
    return entropy(logits).sort(stable=True).indices


def entropy_weight(entropies: Tensor, margin: float) -> Tensor:
    """Return ``exp(margin - entropy)`` ``[B]``, without a gradient: above 1 below the margin.

    EATA, eq. 3.
    """
    return (margin - entropies.detach()).exp()


def not_redundant(probabilities: Tensor, mean: Tensor, margin: float) -> Tensor:
    """Return which predictions point elsewhere than the mean: ``|cos(p, mean)| < margin``.

    EATA, eq. 4. Every sample passes while ``mean`` is zero, that is before the first update.

    Args:
        probabilities: ``[B, C]``.
        mean: moving average of selected probabilities ``[C]``, zero at the start.
        margin: between 0 and 1; published for a number of classes.
    """
    return F.cosine_similarity(probabilities, mean[None], dim=1).abs() < margin


def update_mean_probabilities(
    mean: Tensor, probabilities: Tensor, kept: Tensor, momentum: float = 0.9
) -> Tensor:
    """Return ``momentum * mean + (1 - momentum) * m`` with m the mean over the kept samples.

    A zero ``mean`` is replaced by m; where nothing is kept, ``mean`` is returned as it is. What is
    not kept may hold NaN.

    Args:
        mean: ``[C]``.
        probabilities: ``[B, C]``.
        kept: mask ``[B]``.
        momentum: weight of the past.
    """
    probabilities = torch.where(kept[:, None], probabilities, 0)
    kept = kept.to(probabilities.dtype)
    batch_mean = kept @ probabilities / kept.sum().clamp_min(1.0)
    moved = torch.where(mean.any(), batch_mean.lerp(mean, momentum), batch_mean)
    return torch.where(kept.any(), moved, mean)


def selected_mean(values: Tensor, selected: Tensor) -> Tensor:
    """Return the mean of ``values`` ``[B, ...]`` where ``selected`` is; 0 where nothing is."""
    return torch.where(selected, values, 0).sum() / selected.sum().clamp_min(1)


def diversity_certainty_weights(logits: Tensor, mean: Tensor, temperature: float) -> Tensor:
    """Return ``exp(d c / temperature)`` ``[B]``, and 0 where d is below its mean.

    Diversity d is ``1 - cos(p, mean)``, certainty c the negative entropy, each brought to
    [0, 1] over the batch; measures that are all equal, such as a lone sample's, become 0.
    A row of logits that are not all finite weighs 0 and does not count. ROID (Marsden et al.,
    WACV 2024). No gradient.

    Args:
        logits: ``[B, C, ...]``.
        mean: moving average of all predictions ``[C]``.
        temperature: above 0.
    """
    logits = logits.detach()
    finite = logits.isfinite().all(1)
    p = logits.softmax(1)
    diversity = 1 - F.cosine_similarity(p, class_vector(mean, p), dim=1)
    diversity, certainty = _min_max(diversity, finite), _min_max(-entropy(logits), finite)
    weights = (diversity * certainty / temperature).exp()
    # A factor of exactly 1 where all count.
    mean_diversity = diversity.mean() * (finite.numel() / finite.sum())
    return torch.where(finite & (diversity >= mean_diversity), weights, 0)


def _min_max(values: Tensor, counted: Tensor) -> Tensor:
    """Bring the values that count to [0, 1], and the others to 0."""
    low = torch.where(counted, values, torch.inf).amin()
    high = torch.where(counted, values, -torch.inf).amax()
    scaled = (values - low) / (high - low).clamp_min(torch.finfo(values.dtype).tiny)
    return torch.where(counted, scaled, 0)
