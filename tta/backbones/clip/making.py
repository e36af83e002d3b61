"""Making image-text models: ``clip:ARCHITECTURE/TAG`` of open_clip, and ``digits_clip``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tta.backbones.checkpoint import load_checkpoint
from tta.backbones.checkpoint_file import read_checkpoint
from tta.backbones.clip import digits_clip
from tta.backbones.clip.classifier import ImageText, UnitImageTower
from tta.backbones.clip.text_tower import TextTower, WholeTextTower
from tta.backbones.clip_names import EMBEDDED, PREFIX, check_clip, split_clip
from tta.foundation.errors import UserError, did_you_mean, message_of
from tta.foundation.geometry import Size
from tta.ops.generators import seeded_layers

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Of OpenAI's CLIP, and of most models that were trained like it."""


def load_image_text(
    name: str, weights: str | Path | None = None, *, kind: str = "auto", size: Size | None = None
) -> ImageText:
    """Return a model by its name, with the weights of a file or those of its tag.

    Args:
        name: for which :func:`tta.backbones.clip_names.is_clip` holds.
        weights: a checkpoint of both towers; nothing is downloaded then.
        kind: of averaged and trained weights, see :func:`tta.backbones.checkpoint.load_checkpoint`.
        size: (height, width) of images, over the model's.

    Raises:
        UserError: open_clip is not installed, the name is none of its, or the weights cannot be
            had.
    """
    check_clip(name, weights is not None)
    if name == EMBEDDED:
        return _embedded(weights, kind, size)
    return _of_open_clip(name, weights, kind, size)


def drawn_digits_clip() -> ImageText:
    """Return ``digits_clip`` with drawn weights, the same at every call."""
    with seeded_layers(0):
        model = digits_clip.DigitsClip().eval()
    scale = float(model.logit_scale.exp())
    parts = (model.visual, TextTower(model), digits_clip.tokenize, model)
    return ImageText(EMBEDDED, *parts, scale)


def _embedded(weights: str | Path | None, kind: str, size: Size | None) -> ImageText:
    if size not in (None, (32, 32)):
        raise UserError(f"backbone {EMBEDDED!r} takes images of 32x32; leave --input-size out")
    made, file = drawn_digits_clip(), read_checkpoint(weights or digits_clip.WEIGHTS)
    words = load_checkpoint(made.model, file, EMBEDDED, kind).words
    scale = float(made.model.logit_scale.exp())
    return replace(made, scale=scale, understood={"weights": words} if weights else {})


def _of_open_clip(name: str, weights: str | Path | None, kind: str, size: Size | None) -> ImageText:
    import open_clip  # takes seconds, and is there: the name was checked

    architecture, tag = split_clip(name)
    tagged = _tag_config(open_clip, name, architecture, tag)
    options = {"force_image_size": size, "force_quick_gelu": bool(tagged.get("quick_gelu"))}
    make = partial(open_clip.create_model, architecture, precision="fp32", **options)
    if weights is None:
        model, words = _downloaded(partial(make, pretrained=tag), name), f"open_clip's tag {tag}"
    else:
        with seeded_layers(0):
            model = make(pretrained=None)
        words = load_checkpoint(model, read_checkpoint(weights), name, kind).words
    config = {"mean": tagged.get("mean") or MEAN, "std": tagged.get("std") or STD}
    config["interpolation"] = tagged.get("interpolation") or "bicubic"
    activation = "QuickGELU" if _is_quick(model) else "GELU"
    notes = {"weights": f"{words}; activation {activation}"}
    tokenize = _tokenizer(open_clip, architecture, name)
    return image_text(model, tokenize, name, config=config, understood=notes)


def image_text(
    model: nn.Module,
    tokenize: Callable[[list[str]], Tensor],
    name: str,
    *,
    config: dict[str, Any] | None = None,
    understood: dict[str, str] | None = None,
) -> ImageText:
    """Return a model of open_clip that a program has made, ready for :func:`zero_shot_backbone`.

    Args:
        model: in float32; it is put into evaluation mode.
        tokenize: of ``open_clip.get_tokenizer``.
        name: what messages and records call it.
        config: mean, std and interpolation; those of OpenAI's CLIP where None.
        understood: see :class:`ImageText`.
    """
    if hasattr(model, "text_decoder"):
        raise UserError(f"backbone {name!r} writes captions (CoCa), and is no zero-shot classifier")
    model.eval()
    sides = _sides(model.visual.image_size)
    image = {"mean": MEAN, "std": STD, "interpolation": "bicubic", **(config or {})}
    image |= {"input_size": (3, *sides), "crop_pct": 1.0, "architecture": name}
    bias = getattr(model, "logit_bias", None)
    return ImageText(
        name,
        UnitImageTower(model.visual, image),
        TextTower(model) if _takes_embedded(model) else WholeTextTower(model),
        tokenize,
        model,
        float(model.logit_scale.detach().exp()),
        None if bias is None else float(bias),
        understood or {},
    )


def _sides(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _takes_embedded(model: nn.Module) -> bool:
    """Return whether the text tower is CLIP's own: causal, pooled at the largest token id."""
    pool = getattr(model, "text_pool_type", None)
    return pool == "argmax" and getattr(model, "attn_mask", None) is not None


def _is_quick(model: nn.Module) -> bool:
    return any(type(module).__name__ == "QuickGELU" for module in model.modules())


def _tag_config(open_clip: Any, name: str, architecture: str, tag: str | None) -> dict[str, Any]:
    """Return what open_clip says of a tag's weights: activation, mean, std, interpolation.

    The activation is a fact of the weights: open_clip itself only warns where an architecture is
    made with another.
    """
    if tag is None:
        return {}
    found = open_clip.get_pretrained_cfg(architecture, tag)
    if not found:
        known = open_clip.list_pretrained_tags_by_model(architecture)
        hint = did_you_mean(tag, known) if known else "it has none: pass --weights FILE"
        raise UserError(f"backbone {name!r}: {architecture} has no tag {tag!r}; {hint}")
    return dict(found)


def _downloaded(make: Callable[[], nn.Module], name: str) -> nn.Module:
    try:
        return make()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"the weights of backbone {name!r} cannot be downloaded or loaded "
            f"({message_of(error)[:200]}); check the network, or pass a file of them as --weights "
            "FILE: open_clip_model.safetensors of the model's page, or a state dict"
        ) from error


def _tokenizer(open_clip: Any, architecture: str, name: str) -> Callable[[list[str]], Tensor]:
    try:
        return open_clip.get_tokenizer(architecture)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise UserError(
            f"the tokenizer of backbone {name!r} cannot be had ({message_of(error)[:200]}); choose "
            f"an architecture with CLIP's own, such as {PREFIX}ViT-B-16/openai"
        ) from error
