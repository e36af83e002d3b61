"""``digits_clip``: a small image-text model of handwritten digits, to try methods of CLIP offline.

Two towers of width 64 as in CLIP (Radford et al., ICML 2021): a vision transformer over 16 patches
of 8 x 8 pixels, and a causal transformer over words. Trained on the clean source scans,
with a logit scale of 100, as CLIP's ends at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.models import VisionTransformer
from torch import Tensor, nn

from tta.datasets.benchmark import shipped
from tta.datasets.digits import NAMES, TEMPLATE
from tta.foundation.errors import UserError

WEIGHTS = shipped("digits_clip.safetensors")
TEMPLATES = (
    TEMPLATE,
    "a scan of the number {}",
    "the digit {}",
    "a handwritten digit {}",
    "a photo of the number {}",
    "a blurry scan of the digit {}",
    "a small scan of the digit {}",
    "a scan of a handwritten {}",
    "this is the number {}",
    "someone wrote the digit {}",
    "{}",
    "a picture of a {}",
)
"""What it was trained with."""
_WORD = re.compile(r"[^\W\d_]+")
WORDS = tuple(dict.fromkeys(_WORD.findall(" ".join((*TEMPLATES, *NAMES, "or")))))
CONTEXT = 16
_START, _END = len(WORDS) + 1, len(WORDS) + 2  # the end has the largest number, as CLIP's
_SIZE, _WIDTH, _HEADS, _LAYERS = 32, 64, 4, 2


def tokenize(texts: Sequence[str]) -> Tensor:
    """Return numbers of words ``[n, 16]``: start, words, end, zeros; what is longer is cut.

    Raises:
        UserError: a word that the model was not trained with.
    """
    numbers = torch.zeros(len(texts), CONTEXT, dtype=torch.long)
    for row, text in zip(numbers, texts, strict=True):
        found = [_START, *map(_number, _WORD.findall(text.lower()))][: CONTEXT - 1] + [_END]
        row[: len(found)] = torch.tensor(found)
    return numbers


def _number(word: str) -> int:
    if word not in WORDS:
        raise UserError(
            f"backbone 'digits_clip' does not know the word {word!r}; it knows {', '.join(WORDS)}"
        )
    return WORDS.index(word) + 1


class ImageTower(VisionTransformer):
    """A vision transformer of timm whose features are unit vectors ``[B, 64]`` of images 32x32."""

    def __init__(self) -> None:
        super().__init__(
            img_size=_SIZE,
            patch_size=8,
            embed_dim=_WIDTH,
            depth=6,
            num_heads=2,
            mlp_ratio=3,
            pre_norm=True,
            num_classes=0,
        )
        self.projection = nn.Linear(_WIDTH, _WIDTH, bias=False)
        half = (0.5, 0.5, 0.5)
        sizes = {"input_size": (3, _SIZE, _SIZE), "crop_pct": 1.0, "interpolation": "bicubic"}
        self.pretrained_cfg = {"architecture": "digits_clip", "mean": half, "std": half, **sizes}

    def embedded(self, x: Tensor) -> Tensor:
        """Return embeddings ``[B, 64]``, not of unit length yet, of tokens ``[B, 17, 64]``."""
        return self.projection(super().forward_head(x, pre_logits=True)).float()

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return unit features, or logits, of tokens ``[B, 17, 64]``."""
        features = F.normalize(self.embedded(x), dim=1)
        return features if pre_logits else self.head(features)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return timm's groups of parameters by depth, with the first norm layer in the stem."""
        return {
            "stem": r"^(?:cls_token|pos_embed|patch_embed|norm_pre)",
            "blocks": [(r"^blocks\.(\d+)", None), (r"^(?:norm|projection)", (99999,))],
        }


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(_WIDTH), nn.LayerNorm(_WIDTH)
        self.qkv, self.out = nn.Linear(_WIDTH, 3 * _WIDTH), nn.Linear(_WIDTH, _WIDTH)
        self.mlp = nn.Sequential(
            nn.Linear(_WIDTH, 3 * _WIDTH), nn.GELU(), nn.Linear(3 * _WIDTH, _WIDTH)
        )

    def forward(self, x: Tensor, attn_mask: Tensor) -> Tensor:
        parts = self.qkv(self.ln_1(x)).unflatten(2, (3, _HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*parts, attn_mask=attn_mask)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.ln_2(x))


class _Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(_Block() for _ in range(_LAYERS))

    def forward(self, x: Tensor, attn_mask: Tensor) -> Tensor:
        for block in self.resblocks:
            x = block(x, attn_mask)
        return x


class DigitsClip(nn.Module):
    """Both towers, the parts of the text tower under the names that open_clip's have.

    Its text tower takes word numbers ``[n, 16]`` of :func:`tokenize`.
    """

    attn_mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.visual = ImageTower()
        self.token_embedding = nn.Embedding(_END + 1, _WIDTH)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(CONTEXT, _WIDTH))
        self.transformer = _Transformer()
        self.ln_final = nn.LayerNorm(_WIDTH)
        self.text_projection = nn.Linear(_WIDTH, _WIDTH, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(100.0).log(), requires_grad=False)
        mask = torch.full((CONTEXT, CONTEXT), -torch.inf).triu(1)
        self.register_buffer("attn_mask", mask, persistent=False)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
