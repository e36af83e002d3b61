"""RPL: robust pseudo-labelling."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tta.methods.params import OptimizerParams, param
from tta.methods.tent import Tent
from tta.ops.losses import generalized_cross_entropy


class RobustPseudoLabelling(Tent):
    """Tent with the generalised cross-entropy against its own predicted classes.

    Between cross-entropy (q = 0) and mean absolute error (q = 1) it weighs wrong labels less
    the less sure the model is of them (Rusak et al., 2021).
    """

    name = "rpl"
    capturable = True
    dense = {"optimizer": "sgd", "lr": 2.5e-4}
    paper = "Rusak et al., If your data distribution shifts, use self-learning, TMLR 2022"

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters."""

        q: float = param(0.8, "exponent of the loss", minimum=1e-6, maximum=1.0)

    def loss(self, logits: Tensor) -> Tensor:
        return generalized_cross_entropy(logits, self.params.q).mean()
