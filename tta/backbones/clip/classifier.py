"""A zero-shot classifier as a backbone: image tower, text side, and the head that they make."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tta.backbones.backbone import Backbone
from tta.backbones.checkpoint import weights_sha256
from tta.backbones.clip.text_side import TextSide
from tta.foundation.arithmetic import arithmetic
from tta.foundation.cache import PreparationCache
from tta.foundation.code_digest import code_digest
from tta.foundation.errors import UserError


class UnitImageTower(nn.Module):
    """An image tower of open_clip whose features are unit vectors; a head is put on later.

    Args:
        visual: returns embeddings ``[B, D]`` of normalised images.
        config: as timm's ``pretrained_cfg``: mean, std, input_size, interpolation, crop.
    """

    def __init__(self, visual: nn.Module, config: dict[str, Any]) -> None:
        super().__init__()
        self.visual, self.head, self.pretrained_cfg = visual, nn.Identity(), config

    def forward_features(self, images: Tensor) -> Tensor:
        """Return embeddings ``[B, D]``, not of unit length yet."""
        return self.visual(images)

    def embedded(self, embedded: Tensor) -> Tensor:
        """Return embeddings ``[B, D]`` as they are, in float32."""
        return embedded.float()

    def forward_head(self, embedded: Tensor, pre_logits: bool = False) -> Tensor:
        """Return unit features ``[B, D]``, or logits ``[B, C]``."""
        features = F.normalize(self.embedded(embedded), dim=1)
        return features if pre_logits else self.head(features)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``[B, C]``."""
        return self.forward_head(self.forward_features(images))

    def get_classifier(self) -> nn.Module:
        """Return the head, as timm's models do."""
        return self.head


@dataclass(frozen=True)
class ImageText:
    """A model of both towers, made ready for any classes.

    Attributes:
        name: what messages and records call it.
        image: tower with a ``head`` to be set and ``pretrained_cfg``.
        tower: of the text.
        tokenize: returns token ids ``[n, L]`` of texts.
        model: all of it, whose weights are digested.
        scale: ``exp(logit_scale)``.
        bias: of logits, or None.
        understood: in words how it was taken, see :mod:`tta.foundation.notes`.
    """

    name: str
    image: nn.Module
    tower: Any
    tokenize: Any
    model: nn.Module
    scale: float
    bias: float | None = None
    understood: dict[str, str] = field(default_factory=dict)


def zero_shot_backbone(
    parts: ImageText,
    class_names: Sequence[str],
    templates: Sequence[str],
    *,
    device: torch.device | str = "cpu",
    cached: bool = True,
    normalisation: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Backbone:
    """Return a backbone whose head has the scaled text embeddings of the classes as its rows.

    ``head(f) = s f T' (+ b)`` with unit features f and T of :meth:`TextSide.ensemble`. Underscores
    in names become blanks. Classes of equal names have equal rows: their logits are apart by what
    the product of matrices rounds, at most.

    Args:
        parts: the model; its image tower is copied.
        class_names: in the order of the outputs.
        templates: each with one ``{}``.
        device: where texts are encoded; the backbone is left on the CPU.
        cached: keep the embeddings between runs, under all that they depend on.
        normalisation: mean and std per channel, over those of the model.

    Raises:
        UserError: no class, or a name that is empty.
    """
    names = [" ".join(name.replace("_", " ").split()) for name in class_names]
    if not names or not all(names):
        raise UserError("a zero-shot classifier needs names of classes, none of them empty")
    text = TextSide(parts.tower, parts.tokenize, names, templates, parts.scale, parts.bias)
    weights = weights_sha256(parts.model)
    text.embeddings = _embeddings(text, [parts.name, weights], torch.device(device), cached)
    parts.image.head = _head(text)
    config = parts.image.pretrained_cfg
    mean, std = normalisation or (config["mean"], config["std"])
    backbone = Backbone(
        parts.image, name=parts.name, input_size=config["input_size"], mean=mean, std=std
    )
    parts.image.head = nn.Identity()  # the backbone has a copy
    backbone.text, backbone.weights_sha256 = text, weights
    backbone.label_names = tuple(class_names) if len(set(class_names)) == len(names) else None
    backbone.understood.update(parts.understood)
    return backbone


def _head(text: TextSide) -> nn.Linear:
    classes, width = text.embeddings.shape
    head = nn.Linear(width, classes, bias=text.bias is not None)
    with torch.no_grad():
        head.weight.copy_(text.scale * text.embeddings)
        if text.bias is not None:
            head.bias.fill_(text.bias)
    return head


def _embeddings(text: TextSide, model: list[str], device: torch.device, cached: bool) -> Tensor:
    ids = text.tokenize(text.prompts(text.templates[0])).tolist()  # as a program may give another
    one = text.encode(text.tokens(text.prompts(text.templates[0])[:1]))  # what weights do not say
    facts = {
        "model": model,
        "tower": hashlib.sha256(one.detach().double().cpu().numpy().tobytes()).hexdigest(),
        "prompts": text.digest,
        "tokens": hashlib.sha256(repr(ids).encode()).hexdigest(),
        "arithmetic": arithmetic(device),
    }
    cache = PreparationCache({"text embeddings": {**facts, "code": code_digest()}})
    entry = cache.load() if cached else None
    if entry is not None:
        return entry["embeddings"]
    made = text if device.type == "cpu" else text.copy_to(device)
    embeddings = made.ensemble(text.templates).cpu()
    if cached:
        cache.save({"embeddings": embeddings})
    return embeddings
