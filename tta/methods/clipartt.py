"""CLIPArTT: prompts that name several classes, one for each image of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tta.foundation.templates import check_template
from tta.methods.episodes import BatchEpisode, PairingParams
from tta.methods.params import param


class ClipArtt(BatchEpisode):
    """Pairs every image with a prompt of its likeliest classes, "a photo of a A or B or C".

    Ten steps on each batch, from the source model anew, down the cross-entropy of texts given
    images against how alike the images are, and the texts; then the batch is classified with
    the usual prompts (Hakim et al., WACV 2025). Each step asks the model of the step before for
    the classes. In the released code targets are transposed, their rows do not sum to 1, and
    gradients flow through them: ``target`` and ``detach``.
    """

    name = "clipartt"
    paper = "Hakim et al., CLIPArTT: adaptation of CLIP to new domains at test time, WACV 2025"

    @dataclass(frozen=True)
    class Params(PairingParams):
        """Hyper-parameters; the defaults are the authors'."""

        candidates: int = param(3, "classes that a prompt names", unit="classes", minimum=1)
        prompt: str = param("a photo of a {}", "template of prompts")
        steps: int = param(10, "steps on each batch", unit="steps", minimum=1, maximum=1000)

    def configure(self) -> None:
        super().configure()
        check_template(self.params.prompt)
        self.text = self.backbone.text.copy_to(self.backbone.mean.device)
        names, kept = self.text.class_names, self.backbone.class_ids
        self.names = names if kept is None else [names[output] for output in kept]

    def adapt(self, images: Tensor) -> None:
        encoded: dict[tuple[int, ...], Tensor] = {}
        for _ in range(self.params.steps):
            features = self.backbone.features(images)
            logits = self.backbone.head(features.detach())
            count = min(self.params.candidates, logits.shape[1])
            # Waits for the device: prompts are put together on the host.
            likeliest = [tuple(row) for row in logits.topk(count).indices.tolist()]
            self.pair(features, self._encoded(likeliest, encoded))

    @torch.no_grad()
    def _encoded(
        self, choices: list[tuple[int, ...]], known: dict[tuple[int, ...], Tensor]
    ) -> Tensor:
        """Return unit vectors ``[B, D]`` of the prompts of some choices of classes.

        Args:
            choices: for every image.
            known: vectors ``[D]`` of choices that were encoded before; further ones are put in.
        """
        new = list(dict.fromkeys(one for one in choices if one not in known))
        if new:
            known.update(zip(new, self.text.encode(self._tokens(new)), strict=True))
        return torch.stack([known[one] for one in choices])

    def _tokens(self, choices: list[tuple[int, ...]]) -> Tensor:
        named = [" or ".join(self.names[number] for number in one) for one in choices]
        return self.text.tokens([self.params.prompt.replace("{}", words) for words in named])
