"""Which sizes of images a backbone takes: found out by a forward pass, not by its name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from timm.data import resolve_data_config
from timm.data.transforms import str_to_pil_interp

from tta.backbones.backbone import Backbone
from tta.datasets.resizing import Resizing
from tta.foundation.errors import WRONG_VALUES, UserError, message_of
from tta.foundation.geometry import Size, as_option, in_words

CHANNELS = 3
"""Of the images of every data set."""


def why_not(backbone: Backbone, size: Size) -> str | None:
    """Return why a backbone does not take images of ``size``, or None where it does."""
    configured = backbone.input_size[1:]
    if backbone.input_size[0] != CHANNELS:
        return f"it takes images of {backbone.input_size[0]} channels, and these have {CHANNELS}"
    if size == configured:
        return None  # what it was made with
    try:
        finite = _is_finite(backbone, size)
    except WRONG_VALUES as error:  # of a layer that is not made for the size
        if isinstance(error, torch.cuda.OutOfMemoryError) or "memory" in str(error):
            raise
        return message_of(error)[:160].rstrip(".")
    if finite or not _is_finite(backbone, configured):
        return None
    return "its outputs are not finite"


@torch.no_grad()
def _is_finite(backbone: Backbone, size: Size) -> bool:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, CHANNELS, *size, generator=generator).to(backbone.mean.device)
    counted = backbone.passes.forward
    try:
        return bool(backbone(image).isfinite().all())
    finally:
        backbone.passes.forward = counted  # a trial is no part of a run


def stride(backbone: Backbone) -> int:
    """Return how many pixels a side of the deepest feature map's pixels stands for, at least 1."""
    stages = getattr(backbone.model, "feature_info", None)
    stages = stages if isinstance(stages, (list, tuple)) else []
    return max((stage.get("reduction", 1) for stage in stages), default=1)


def has_own_size(backbone: Backbone) -> bool:
    """Return whether weights of the network are those of one size: a position embedding's, say.

    timm's networks of that kind that take other sizes as well resample such weights.
    """
    return hasattr(backbone.model, "set_input_size")


def evaluation_transform(backbone: Backbone, how: str | None = None) -> Resizing:
    """Return timm's transform for evaluation: its resize, interpolation and crop.

    Args:
        backbone: whose configuration says it.
        how: of :data:`tta.foundation.geometry.HOWS`, in place of what the configuration says.

    Raises:
        UserError: it pads images, which is not done here, and ``how`` is open.
    """
    config = resolve_data_config({}, model=backbone.model)
    how = how or {"center": "shorter", "squash": "squash"}.get(config["crop_mode"])
    if how is None:
        raise UserError(
            f"backbone {backbone.name!r} is configured for crop_mode {config['crop_mode']!r}; say "
            "how images are resized instead: --resize shorter or --resize squash"
        )
    name = config["interpolation"]
    name = "bilinear" if name == "random" else name  # a choice of training
    return Resizing(
        how,
        Image.Resampling(str_to_pil_interp(name)),
        float(config["crop_pct"]),
        rounds_down=True,
    )


def create_for_size(create: Callable[..., Backbone], size: Size, own_file: bool) -> Backbone:
    """Return a backbone that takes images of ``size``.

    It is the one of the configured size where that takes them; else one made for ``size``; else
    the former, its position embedding resampled by timm.

    Args:
        create: makes the backbone, with ``model_kwargs``.
        size: (height, width).
        own_file: whether its weights are a file, which may be those of another size.

    Raises:
        UserError: there is no such backbone.
    """
    plain, failure = None, None
    try:
        plain = create()
    except UserError as error:
        if not own_file:
            raise
        failure = error
    if plain is not None and why_not(plain, size) is None:
        return plain
    made = _made_for(create, size) or (plain and _resampled(plain, size))
    if made is not None:
        return made
    raise failure or refusal(plain, size, "as --input-size asks for")


def _made_for(create: Callable[..., Backbone], size: Size) -> Backbone | None:
    try:
        made = create(model_kwargs={"img_size": size})
    except (UserError, *WRONG_VALUES):  # no such argument, or the weights are those of another size
        return None
    return made if why_not(made, size) is None else None


def _resampled(backbone: Backbone, size: Size) -> Backbone | None:
    made = backbone.clone()  # its digest stays that of the weights as loaded
    if not has_own_size(made):
        return None
    try:
        made.model.set_input_size(img_size=size)
    except WRONG_VALUES:
        return None
    if why_not(made, size) is not None:
        return None
    made.input_size = (CHANNELS, *size)
    return made


def refusal(backbone: Backbone, size: Size, asked: str) -> UserError:
    """Return the error that names the size shown, the configured one and the cure.

    Args:
        backbone: which does not take the size.
        size: in which images would be shown.
        asked: why in that size.
    """
    reason, configured = why_not(backbone, size), in_words(backbone.input_size[1:])
    if backbone.input_size[0] != CHANNELS:
        return UserError(f"backbone {backbone.name!r} is refused: {reason}; choose another")
    return UserError(
        f"backbone {backbone.name!r} cannot take images of {in_words(size)}, {asked} "
        f"({reason}); it is configured for {configured}: pass "
        f"--input-size {as_option(backbone.input_size[1:])}"
    )
