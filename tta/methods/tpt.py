"""TPT: test-time prompt tuning, one image at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tta.methods.base import Need, descend
from tta.methods.params import param
from tta.methods.soft_prompt import SoftPrompt
from tta.methods.viewed import ViewedMethod, ViewParams
from tta.ops.losses import marginal_entropy
from tta.ops.selection import most_certain


@dataclass(frozen=True)
class PromptParams(ViewParams):
    """What methods that tune a prompt on the views of an image share."""

    share: float = param(0.1, "share of the views that count", minimum=0.0, maximum=1.0)
    prompt: str | None = param(
        None, "template whose words before {} are trained; null for the first of --templates"
    )
    lr: float = param(5e-3, "learning rate of AdamW", minimum=0.0)
    weight_decay: float = param(0.01, "weight decay of AdamW", minimum=0.0)
    steps: int = param(1, "steps on each image", unit="steps", minimum=1, maximum=1000)


class Tpt(ViewedMethod):
    """Tunes the words of the prompt until the most certain views of an image agree.

    From the first words anew for every image: a step down the entropy of the mean prediction over
    the 10 % most certain views, on the embedded context that all classes share; then the image
    itself is classified (Shu et al., NeurIPS 2022). Which views count is decided once. Between
    two images the model is the zero-shot one, which :meth:`predict` uses.
    """

    name = "tpt"
    paper = "Shu et al., Test-time prompt tuning for zero-shot generalization, NeurIPS 2022"
    predicts = "after"

    @dataclass(frozen=True)
    class Params(PromptParams):
        """Hyper-parameters; the defaults are the authors'."""

    @classmethod
    def needs(cls, params: PromptParams) -> frozenset[Need]:
        return super().needs(params) | {Need.TEXT_ENCODER}

    def configure(self) -> None:
        super().configure()
        self.prompt = SoftPrompt(self.backbone, self.params.prompt)

    def episode(self, features: Tensor) -> Tensor:
        params, context = self.params, self.prompt.initial.clone().requires_grad_()
        optimizer = torch.optim.AdamW([context], params.lr, weight_decay=params.weight_decay)
        kept = None
        for _ in range(params.steps):
            embeddings = self.prompt.embeddings(context)
            logits = self.prompt.logits(features, embeddings)
            kept = most_certain(logits.detach(), params.share) if kept is None else kept
            descend(optimizer, self.loss(logits[kept], embeddings))
        with torch.no_grad():
            return self.prompt.logits(features[:1], self.prompt.embeddings(context))[0]

    def loss(self, logits: Tensor, embeddings: Tensor) -> Tensor:
        """Return what a step goes down, a scalar.

        Args:
            logits: of the views that count ``[K, C]``.
            embeddings: unit text embeddings ``[C, D]``.
        """
        return marginal_entropy(logits)
