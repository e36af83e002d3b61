"""An image-text model as a classifier of any classes, by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from tta.backbones.backbone import Backbone
from tta.backbones.clip.classifier import ImageText, zero_shot_backbone
from tta.backbones.clip.making import image_text, load_image_text
from tta.backbones.clip_names import EMBEDDED, PREFIX, is_clip
from tta.foundation.errors import UserError
from tta.foundation.templates import parse_templates, read_templates

USUAL = ("a photo of a {}.",)


def zero_shot(
    model: str | nn.Module,
    class_names: Sequence[str],
    templates: str | Sequence[str] = USUAL,
    *,
    weights: str | Path | None = None,
    tokenizer: Callable[[list[str]], Tensor] | None = None,
    device: torch.device | str = "cpu",
) -> Backbone:
    """Return a classifier by names of classes, for :func:`tta.adapt` and :func:`tta.evaluate`.

    Example:
        >>> import tta, torch
        >>> model = tta.zero_shot("digits_clip", ["zero", "one"], "a scan of the digit {}")
        >>> adapted = tta.adapt(model, "tda")
        >>> adapted(torch.rand(4, 3, 32, 32)).shape
        torch.Size([4, 2])

    Args:
        model: ``clip:ARCHITECTURE/TAG`` of open_clip, ``digits_clip``, or a model that
            ``open_clip.create_model`` has returned.
        class_names: in the order of the outputs.
        templates: one text with ``{}`` or several, whose embeddings are averaged; or ``openai80``.
        weights: a checkpoint of both towers, in place of what the tag stands for.
        tokenizer: of ``open_clip.get_tokenizer``; for a model that is given as an object.
        device: where texts are encoded; the classifier is left on the CPU.

    Raises:
        UserError: the model or its weights cannot be had; a name or template is none.
    """
    parts = _parts(model, weights, tokenizer)
    chosen = read_templates(parse_templates(templates), USUAL)
    return zero_shot_backbone(parts, class_names, chosen, device=device)


def _parts(
    model: str | nn.Module,
    weights: str | Path | None,
    tokenizer: Callable[[list[str]], Tensor] | None,
) -> ImageText:
    if isinstance(model, str):
        if not is_clip(model):
            raise UserError(
                f"{model!r} names no image-text model; write {PREFIX}ARCHITECTURE/TAG, such as "
                f"{PREFIX}ViT-B-16/openai, or {EMBEDDED}"
            )
        return load_image_text(model, weights)
    if not (hasattr(model, "visual") and hasattr(model, "logit_scale")):
        raise UserError(
            f"a {type(model).__name__} is no image-text model of open_clip: it has no visual tower "
            "and logit_scale"
        )
    if tokenizer is None:
        raise UserError(
            "a model of open_clip is given: pass tokenizer=open_clip.get_tokenizer(...)"
        )
    return image_text(model, tokenizer, type(model).__name__)
