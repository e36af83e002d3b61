"""WATT: the mean of models that were each adapted under another template."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.foundation.errors import UserError
from tta.foundation.templates import check_template
from tta.methods.episodes import BatchEpisode, PairingParams, go_back
from tta.methods.params import param

TEMPLATES = (
    "a photo of a {}",
    "itap of a {}",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)


class Watt(BatchEpisode):
    """Averages weights that were trained under eight templates, five times over.

    In each round the model takes two steps under every template, with CLIPArTT's loss of images
    and the texts of their likeliest classes, and the mean of the weights after each template is
    where the next round begins (Osowiechi et al., NeurIPS 2024). One after another
    (``sequential``, WATT-S) a template goes on from where the last has ended, side by side
    (``parallel``, WATT-P) from the start of the round. Every batch begins at the source model and
    ends with a prediction under the mean of the templates' embeddings.

    As in the released code moments of Adam are forgotten in the first round alone, there before
    every template side by side, and go on from template to template in later ones; targets are
    transposed as CLIPArTT's are.
    """

    name = "watt"
    paper = "Osowiechi et al., WATT: weight average test-time adaptation of CLIP, NeurIPS 2024"

    @dataclass(frozen=True)
    class Params(PairingParams):
        """Hyper-parameters; the defaults are those for most data sets."""

        lr: float = param(1e-4, "learning rate", minimum=0.0)
        order: str = param("sequential", "WATT-S or WATT-P", choices=("sequential", "parallel"))
        templates: tuple[str, ...] = param(TEMPLATES, "templates that take turns")
        rounds: int = param(5, "averages, m", unit="rounds", minimum=1, maximum=1000)
        steps: int = param(2, "steps under each template, l", unit="steps", minimum=1, maximum=1000)
        prediction: str = param(
            "templates",
            "mean embeddings of these templates, or those of --templates",
            choices=("templates", "head"),
        )

    def configure(self) -> None:
        super().configure()
        self.embeddings = self._per_template()
        ensemble = F.normalize(self.embeddings.mean(0), dim=1)
        self.rows = self.backbone.text.scale * ensemble

    def _per_template(self) -> Tensor:
        """Return unit embeddings ``[K, C, D]`` of the classes under each template."""
        templates, kept = self.params.templates, self.backbone.class_ids
        if not templates:
            raise UserError("method 'watt' averages over templates: set at least one")
        for template in templates:
            check_template(template)
        text = self.backbone.text.copy_to(self.backbone.mean.device)
        try:
            embeddings = text.per_template(templates)
        except UserError as error:
            raise UserError(
                f"{error}; method 'watt' has templates of its own: set others, as in "
                "--set 'templates=[\"the {}\"]'"
            ) from error
        return embeddings if kept is None else embeddings[:, kept]

    def adapt(self, images: Tensor) -> None:
        for number in range(self.params.rounds):
            start = [parameter.detach().clone() for parameter in self.parameters]
            ends = [torch.zeros_like(values) for values in start]
            for embeddings in self.embeddings:
                if self.params.order == "parallel":
                    self._begin(start, is_first=number == 0)
                self._descend(images, embeddings)
                torch._foreach_add_(ends, [p.detach() for p in self.parameters])
            torch._foreach_div_(ends, len(self.embeddings))
            self._place(ends)

    def _begin(self, start: list[Tensor], is_first: bool) -> None:
        self._place(start)
        if is_first:
            go_back(self, "optimizer")

    @torch.no_grad()
    def _place(self, values: list[Tensor]) -> None:
        torch._foreach_copy_(self.parameters, values)

    def _descend(self, images: Tensor, embeddings: Tensor) -> None:
        """Take steps under one template, with its embeddings ``[C, D]`` of the classes."""
        for _ in range(self.params.steps):
            features = self.backbone.features(images)
            likeliest = (features.detach() @ embeddings.T).argmax(1)
            self.pair(features, embeddings[likeliest])

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        features = self.backbone.features(images)
        if self.params.prediction == "head":
            return self.backbone.head(features)
        bias = self.backbone.text.bias
        logits = features @ self.rows.T
        return logits if bias is None else logits + bias
