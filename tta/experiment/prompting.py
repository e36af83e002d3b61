"""Which words an image-text model is given for the classes of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch

from tta.backbones.backbone import Backbone
from tta.backbones.clip.classifier import zero_shot_backbone
from tta.backbones.clip.making import load_image_text
from tta.backbones.clip_names import is_clip
from tta.config import RunConfig
from tta.datasets import Dataset
from tta.datasets.with_unknown import known_part
from tta.experiment.given import Given
from tta.foundation.errors import UserError
from tta.foundation.normalisation import spread
from tta.foundation.templates import read_templates
from tta.tasks.classes.lists import NUMBERS, chosen_names, read_class_names
from tta.tasks.classes.outputs import WNID

_LIST = "@"


def make_zero_shot(
    config: RunConfig, name: str, dataset: Dataset, device: torch.device
) -> Backbone:
    """Return the image-text model of a run, as a classifier of the data set's classes.

    Raises:
        UserError: the model cannot be had, the data set does not name its classes, or a template
            is none.
    """
    if config.num_classes is not None:
        raise UserError(
            f"backbone {name!r} has the classes that it is given names of: leave --num-classes out"
        )
    names = outputs_of(config, known_part(dataset), name)
    templates = read_templates(config.templates, dataset.benchmark.templates)
    parts = load_image_text(name, config.weights, kind=config.weights_kind, size=config.input_size)
    given = None if config.mean is None else (spread(config.mean), spread(config.std))
    backbone = zero_shot_backbone(
        parts,
        in_words(names, name),
        templates,
        device=device,
        cached=not config.no_cache,
        normalisation=given,
    )
    # What folders and wnids are matched by; words of two of ImageNet's classes are equal.
    backbone.label_names = names
    return backbone


def refuse_templates(config: RunConfig, given: Given) -> None:
    """Refuse templates where the model reads no text.

    Raises:
        UserError: see above.
    """
    if given.model is not None or not is_clip(config.backbone):
        raise UserError(
            "--templates are for image-text models, which read names of classes: pass --backbone "
            "clip:ARCHITECTURE/TAG or digits_clip, or leave them out"
        )


def outputs_of(config: RunConfig, dataset: Dataset, backbone: str) -> tuple[str, ...]:
    """Return the names of the outputs: those of ``--classes``, else of the data set's classes.

    Raises:
        UserError: nothing names them.
    """
    if config.classes is not None and config.classes != NUMBERS:
        if config.classes.startswith(_LIST):
            return tuple(map(str, chosen_names(config.classes, 1000, backbone).names))
        return read_class_names(config.classes)
    names = dataset.prompt_names or dataset.class_names or getattr(dataset, "classes", None)
    if not names or tuple(names) == tuple(map(str, range(len(names)))):
        raise UserError(
            f"backbone {backbone!r} reads names of classes, and {dataset.name!r} has none; pass a "
            "text file with one name per line, in the order of the labels, as --classes"
        )
    return tuple(names)


def in_words(names: Sequence[str], backbone: str) -> tuple[str, ...]:
    """Return names as people say them: OpenAI's for the wnids of ImageNet's 1,000 classes.

    Raises:
        UserError: there are such wnids, and open_clip, which has the names, is not installed; or
            there is another wnid.
    """
    if not any(WNID.fullmatch(name) for name in names):
        return tuple(names)
    words = _words_of_wnids(backbone)
    unknown = [name for name in names if WNID.fullmatch(name) and name not in words]
    if unknown:
        raise UserError(
            f"class {unknown[0]!r} is none of ImageNet's 1,000, and backbone {backbone!r} reads "
            "words: pass a text file with one name per line as --classes"
        )
    return tuple(words.get(name, name) for name in names)


def _words_of_wnids(backbone: str) -> dict[str, str]:
    if find_spec("open_clip") is None:
        raise UserError(
            f"backbone {backbone!r} reads names of classes, and those of ImageNet's are in the "
            "package open_clip_torch: pip install open_clip_torch"
        )
    import open_clip  # takes seconds
    from timm.data import ImageNetInfo

    wnids = ImageNetInfo("imagenet-1k").label_names()
    return dict(zip(wnids, open_clip.IMAGENET_CLASSNAMES, strict=True))


def prompts_of(backbone: Backbone) -> dict[str, Any] | None:
    """Return names, templates and their digest, as records have them; None without text."""
    text = backbone.text
    if text is None:
        return None
    return {
        "names": list(text.class_names),
        "templates": list(text.templates),
        "digest": text.digest,
    }
