"""What is inside timm's vision transformers: attention of the class token, chosen patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from tta.backbones.backbone import Backbone


def is_class_token_transformer(backbone: Backbone) -> bool:
    """Return whether this is a ViT of timm with a class token and plain self-attention."""
    from timm.models.vision_transformer import VisionTransformer  # here: `tta list` goes without

    model = backbone.model
    return (
        isinstance(model, VisionTransformer)
        and model.cls_token is not None
        and model.global_pool == "token"
        and hasattr(getattr(model.blocks[-1], "attn", None), "qkv")
    )


class PatchChoice(nn.Module):
    """Lets a backbone see some of its patches only; the others are left out, not blanked.

    Takes the place of the model's ``patch_drop``, which does nothing outside training.

    Args:
        backbone: for which :func:`is_class_token_transformer` holds; changed in place.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.prefix = backbone.model.num_prefix_tokens
        self.kept: Tensor | None = None
        backbone.model.patch_drop = self.eval()

    def forward(self, tokens: Tensor) -> Tensor:
        if self.kept is None:
            return tokens
        prefix, patches = tokens[:, : self.prefix], tokens[:, self.prefix :]
        index = self.kept[..., None].expand(-1, -1, tokens.shape[2])
        return torch.cat([prefix, patches.gather(1, index)], dim=1)

    def run(self, backbone: Backbone, images: Tensor, kept: Tensor) -> Tensor:
        """Return logits ``[B, C]`` from the patches ``kept`` ``[B, K]``, numbered by row."""
        self.kept = kept
        try:
            return backbone(images)
        finally:
            self.kept = None


def attended_logits(backbone: Backbone, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits ``[B, C]``, and how much the class token attends to each patch ``[B, N]``.

    Attention is that of the last block, the mean over its heads, without a gradient.
    """
    inputs: list[Tensor] = []
    attention = backbone.model.blocks[-1].attn
    handle = attention.register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach()))
    try:
        logits = backbone(images)
    finally:
        handle.remove()
    return logits, _class_attention(attention, inputs[0])[:, backbone.model.num_prefix_tokens :]


@torch.no_grad()
def _class_attention(attention: nn.Module, tokens: Tensor) -> Tensor:
    batch, count, _ = tokens.shape
    parts = attention.qkv(tokens).reshape(batch, count, 3, attention.num_heads, -1)
    queries, keys, _ = parts.permute(2, 0, 3, 1, 4)
    query, keys = attention.q_norm(queries[:, :, :1]), attention.k_norm(keys)
    return (attention.scale * query @ keys.mT).softmax(-1).mean(1).squeeze(1)


@torch.no_grad()
def patch_tokens(backbone: Backbone, images: Tensor) -> Tensor:
    """Return what the first block is given of the patches ``[B, N, D]``, without prefix tokens.

    Embedded, with position embeddings; of images ``[B, 3, H, W]`` in [0, 1].
    """
    model = backbone.model
    embedded = model.patch_embed((images - backbone.mean) / backbone.std)
    return model.norm_pre(model._pos_embed(embedded))[:, model.num_prefix_tokens :]
