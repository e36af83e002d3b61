"""The text half of a zero-shot classifier: classes and templates, their embeddings, its tower."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tta.backbones.clip.text_tower import TextTower, WholeTextTower, norm_parameters
from tta.foundation.from_host import from_host

CHUNK = 256
"""Prompts that are encoded at a time."""


class TextSide:
    """What a backbone knows of the text of its classes; ``backbone.text``.

    It is no part of the backbone's modules: what walks or copies a backbone leaves it alone. The
    tower is frozen, in host memory and shared by all copies of the backbone; a method that encodes
    or trains takes one of its own, :meth:`copy_to` the device of its images.

    Args:
        tower: of the model.
        tokenize: returns token ids ``[n, L]`` of texts.
        class_names: in the order of the outputs, as they are put into templates.
        templates: texts with ``{}`` in the place of the name.
        scale: factor of cosines in logits, ``exp(logit_scale)``.
        bias: added to logits, or None.

    Attributes:
        embeddings: ``[C, D]`` unit, of every class under all templates; see :meth:`ensemble`.
    """

    embeddings: Tensor | None = None

    def __init__(
        self,
        tower: TextTower | WholeTextTower,
        tokenize: Callable[[Sequence[str]], Tensor],
        class_names: Sequence[str],
        templates: Sequence[str],
        scale: float,
        bias: float | None = None,
    ) -> None:
        self.tower = tower.requires_grad_(False).eval()
        self.tokenize = tokenize
        self.class_names, self.templates = tuple(class_names), tuple(templates)
        self.scale, self.bias = scale, bias

    @property
    def takes_embedded(self) -> bool:
        """Whether the tower takes embedded tokens, which soft prompts need."""
        return self.tower.takes_embedded

    @property
    def device(self) -> torch.device:
        """Where the tower is."""
        return next(self.tower.parameters()).device

    @property
    def digest(self) -> str:
        """SHA-256 of names and templates, in their order."""
        text = json.dumps([self.class_names, self.templates], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def prompts(self, template: str, kept: Iterable[int] | None = None) -> list[str]:
        """Return the prompts of all classes under a template, or of the outputs in ``kept``."""
        kept = range(len(self.class_names)) if kept is None else kept
        return [template.replace("{}", self.class_names[output]) for output in kept]

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """Return token ids ``[n, L]`` on the tower's device, cut after the longest prompt."""
        return from_host(self.tower.cut(self.tokenize(list(prompts))), self.device)

    def embed(self, ids: Tensor) -> Tensor:
        """Return embedded tokens ``[n, L, w]``; for a tower that :attr:`takes_embedded`."""
        return self.tower.embed(ids)

    def encode(self, ids: Tensor) -> Tensor:
        """Return unit vectors ``[n, D]`` of token ids."""
        return self.tower.encode(ids)

    def encode_embedded(self, embedded: Tensor, ids: Tensor) -> Tensor:
        """Return unit vectors ``[n, D]`` of embedded tokens; gradients reach them."""
        return self.tower.encode_embedded(embedded, ids)

    def logits(self, features: Tensor, embeddings: Tensor) -> Tensor:
        """Return logits ``[N, C]`` of unit features ``[N, D]`` for text embeddings ``[C, D]``."""
        logits = self.scale * features @ embeddings.T
        return logits if self.bias is None else logits + self.bias

    def ensemble(self, templates: Sequence[str]) -> Tensor:
        """Return ``[C, D]``: the unit mean over templates of unit embeddings, class by class.

        As CLIP's authors ensemble prompts (Radford et al., ICML 2021).
        """
        return F.normalize(self.per_template(templates).mean(0), dim=1)

    @torch.no_grad()
    def per_template(self, templates: Sequence[str]) -> Tensor:
        """Return unit embeddings ``[K, C, D]`` of every class under each template."""
        return torch.stack([self._encoded(self.prompts(one)) for one in templates])

    def _encoded(self, prompts: Sequence[str]) -> Tensor:
        once = list(dict.fromkeys(prompts))  # classes of one name get the very same numbers
        parts = [once[i : i + CHUNK] for i in range(0, len(once), CHUNK)]
        encoded = torch.cat([self.encode(self.tokens(part)) for part in parts])
        place = {prompt: row for row, prompt in enumerate(once)}
        rows = torch.tensor([place[prompt] for prompt in prompts])
        return encoded[from_host(rows, encoded.device)]

    def norm_parameters(self) -> list[nn.Parameter]:
        """Return the affine parameters of the tower's norm layers, frozen as they are."""
        return norm_parameters(self.tower)

    def copy_to(self, device: torch.device | str) -> TextSide:
        """Return one with a tower of its own, on a device: to be used there, or trained."""
        made = copy.copy(self)
        made.tower = copy.deepcopy(self.tower).to(device)
        if self.embeddings is not None:
            made.embeddings = self.embeddings.to(device, copy=True)
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> TextSide:
        return self
