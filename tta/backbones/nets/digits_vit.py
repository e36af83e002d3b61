"""A small vision transformer at 32 pixels, for methods that need one on the embedded digits."""

from __future__ import annotations

from typing import Any

from timm.models import (
    VisionTransformer,
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
)

default_cfgs = generate_default_cfgs(
    {
        "digits_vit": {
            "num_classes": 10,
            "input_size": (3, 32, 32),
            "fixed_input_size": True,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        }
    }
)


@register_model
def digits_vit(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Return timm's ``test_vit`` (width 64, 6 blocks, 2 heads) with 16 patches of 8 x 8 pixels."""
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 6, "num_heads": 2}
    arguments = {**shape, "mlp_ratio": 3, **kwargs}
    return build_model_with_cfg(VisionTransformer, "digits_vit", pretrained, **arguments)
