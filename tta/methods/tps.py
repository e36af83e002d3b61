"""TPS: a shift of each class's text embedding, tuned on the views of one image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.methods.base import descend
from tta.methods.params import param
from tta.methods.viewed import ViewedMethod, ViewParams
from tta.ops.losses import marginal_entropy
from tta.ops.selection import most_certain


class Tps(ViewedMethod):
    """Shifts the embeddings of classes until the most certain views of an image agree.

    From no shift anew for every image: one step of AdamW down the entropy of the mean prediction
    over the 10 % most certain views, on a shift per class of the unit text embeddings, which are
    made unit again; then the image itself is classified (Sui et al., 2024). The text tower is not
    run. Between two images the model is the zero-shot one, which :meth:`predict` uses.
    """

    name = "tps"
    paper = "Sui et al., Just shift it: test-time prototype shifting for VLMs, 2024"
    predicts = "after"

    @dataclass(frozen=True)
    class Params(ViewParams):
        """Hyper-parameters; the defaults are those for ImageNet and its variants."""

        share: float = param(0.1, "share of the views that count", minimum=0.0, maximum=1.0)
        lr: float = param(5e-3, "learning rate of AdamW", minimum=0.0)
        weight_decay: float = param(0.01, "weight decay of AdamW", minimum=0.0)

    def configure(self) -> None:
        super().configure()
        self.text = F.normalize(self.backbone.class_rows, dim=1)

    def episode(self, features: Tensor) -> Tensor:
        params, shift = self.params, torch.zeros_like(self.text).requires_grad_()
        optimizer = torch.optim.AdamW([shift], params.lr, weight_decay=params.weight_decay)
        logits = self._logits(features, shift)
        kept = most_certain(logits.detach(), params.share)
        descend(optimizer, marginal_entropy(logits[kept]))
        with torch.no_grad():
            return self._logits(features[:1], shift)[0]

    def _logits(self, features: Tensor, shift: Tensor) -> Tensor:
        return self.backbone.text.logits(features, F.normalize(self.text + shift, dim=1))
