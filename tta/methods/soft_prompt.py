"""A prompt whose words before the name are trained, shared by all classes."""

from __future__ import annotations

import torch
from torch import Tensor

from tta.backbones.backbone import Backbone
from tta.foundation.errors import UserError
from tta.foundation.templates import check_template


class SoftPrompt:
    """The embedded prompts of all classes, with rows in the middle that a method trains.

    Args:
        backbone: an image-text model whose text tower takes embedded tokens.
        template: the words before its ``{}`` are the context that is trained; where None, that of
            the backbone's, its first.

    Attributes:
        initial: embedded words ``[n, w]`` that the context begins with.

    Raises:
        UserError: no word stands before the name, or it is no template.
    """

    def __init__(self, backbone: Backbone, template: str | None) -> None:
        self.text = backbone.text.copy_to(backbone.mean.device)
        template = self.text.templates[0] if template is None else template
        check_template(template)
        words = template.partition("{}")[0].strip()
        if not words:
            raise UserError(
                f"template {template!r} has no words before the class's name, which prompt tuning "
                "trains: pass one that has as --set prompt=..., or first among --templates"
            )
        kept = backbone.class_ids or range(len(self.text.class_names))
        prompts = self.text.prompts(template)
        self.ids = self.text.tokens([prompts[output] for output in kept])
        count = int(self.text.tokens([words]).argmax(1)) - 1  # without start and end
        with torch.no_grad():
            embedded = self.text.embed(self.ids)
        self.start, self.rest = embedded[:, :1], embedded[:, 1 + count :]
        self.initial = embedded[0, 1 : 1 + count].clone()

    def embeddings(self, context: Tensor) -> Tensor:
        """Return unit text embeddings ``[C, D]`` under a context ``[n, w]``; gradients reach it."""
        shared = context.expand(len(self.ids), -1, -1)
        return self.text.encode_embedded(torch.cat([self.start, shared, self.rest], 1), self.ids)

    def logits(self, features: Tensor, embeddings: Tensor) -> Tensor:
        """Return logits ``[N, C]`` of unit features ``[N, D]`` for text embeddings ``[C, D]``."""
        logits = self.text.scale * features @ embeddings.T
        return logits if self.text.bias is None else logits + self.text.bias
