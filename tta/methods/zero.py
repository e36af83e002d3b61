"""ZERO: the votes of confident views, at a temperature of zero."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tta.methods.params import param
from tta.methods.viewed import ViewedMethod, ViewParams
from tta.ops.selection import by_certainty


def votes(logits: Tensor, share: float) -> Tensor:
    """Return how many of the most certain views vote for each class ``[C]``.

    A vote for classes of equal logits is divided among them. Where several classes have as many
    votes, the first of the other views, by ascending entropy, that predicts one of them gives its
    own vote; where none does, the first of them votes among these classes.

    Args:
        logits: of the views ``[N, C]``.
        share: of the views that vote, at least one.
    """
    ordered = logits[by_certainty(logits)]
    count = max(1, int(share * len(logits)))
    tops = ordered == ordered.amax(1, keepdim=True)
    found = (tops / tops.sum(1, keepdim=True))[:count].sum(0).to(logits.dtype)
    tied, others = found == found.max(), ordered[count:]
    if not len(others):
        return found
    named = others.argmax(1)
    among = tied[named]
    first = named.gather(0, among.int().argmax(0, keepdim=True))[0]
    nearest = others[0].masked_fill(~tied, -torch.inf).argmax()
    decider = torch.where(among.any(), first, nearest)
    classes = torch.arange(logits.shape[1], device=logits.device)
    return found + (classes == decider) * (tied.sum() > 1)


class Zero(ViewedMethod):
    """Lets the 30 % most certain views of an image vote; nothing is adapted.

    The marginal probability over views as the temperature goes to zero (Farina et al., NeurIPS
    2024). Outputs are shares of the votes: most are zero, and so coarse that calibration errors
    say little of them. In the authors' code the last rule for ties looks at other classes than the
    tied ones, by a slip; here it does what it is meant to.
    """

    name = "zero"
    paper = "Farina et al., Frustratingly easy test-time adaptation of VLMs, NeurIPS 2024"
    outputs = "probabilities"

    @dataclass(frozen=True)
    class Params(ViewParams):
        """Hyper-parameters; the defaults are the authors', for all data sets."""

        share: float = param(0.3, "share of the views that vote", minimum=0.0, maximum=1.0)

    @torch.no_grad()
    def episode(self, features: Tensor) -> Tensor:
        counted = votes(self.backbone.head(features), self.params.share)
        return counted / counted.sum()

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Return the zero-shot probabilities of the images themselves, without views."""
        return self.backbone(images).softmax(1)
