"""VTE: the mean feature of confident views."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tta.methods.params import param
from tta.methods.viewed import ViewedMethod, ViewParams
from tta.ops.selection import most_certain


class Vte(ViewedMethod):
    """Classifies the mean feature of the 10 % most certain views; nothing is adapted.

    Of unit features the mean is taken as it is, so that logits are the mean of the views' logits.
    """

    name = "vte"
    paper = "Doebler et al., A lost opportunity for vision-language models, 2024"

    @dataclass(frozen=True)
    class Params(ViewParams):
        """Hyper-parameters; the defaults are the authors'."""

        share: float = param(0.1, "share of the views that count", minimum=0.0, maximum=1.0)

    @torch.no_grad()
    def episode(self, features: Tensor) -> Tensor:
        kept = most_certain(self.backbone.head(features), self.params.share)
        return self.backbone.head(features[kept].mean(0, keepdim=True))[0]
