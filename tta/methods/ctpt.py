"""C-TPT: prompt tuning that keeps the classes apart, for the sake of calibration."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tta.methods.params import param
from tta.methods.tpt import PromptParams, Tpt


def dispersion(embeddings: Tensor) -> Tensor:
    """Return the mean distance of text embeddings ``[C, D]`` from their mean, a scalar."""
    return (embeddings - embeddings.mean(0)).norm(dim=1).mean()


class CTpt(Tpt):
    """TPT's step, with a reward for text embeddings that lie far from their mean.

    The loss is TPT's less ``dispersion_weight`` times the mean distance of the classes' unit
    embeddings from their mean, of the same forward pass (Yoon et al., ICLR 2024).
    """

    name = "ctpt"
    paper = "Yoon et al., C-TPT: calibrated test-time prompt tuning, ICLR 2024"

    @dataclass(frozen=True)
    class Params(PromptParams):
        """Hyper-parameters; the weight is that of the scripts for fine-grained data sets."""

        dispersion_weight: float = param(
            50.0, "lambda; 20 in the scripts for ImageNet's variants", minimum=0.0
        )

    def loss(self, logits: Tensor, embeddings: Tensor) -> Tensor:
        spread = dispersion(embeddings)
        return super().loss(logits, embeddings) - self.params.dispersion_weight * spread
