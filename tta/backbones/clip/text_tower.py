"""Text towers: from token ids, or embedded tokens, to unit vectors."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tta.ops.parameters import is_norm_layer

_PARTS = ("token_embedding", "transformer", "ln_final")


class TextTower(nn.Module):
    """The text half of a model such as CLIP, whose parts it takes over.

    Args:
        model: open_clip's ``CLIP``, or a module with parts of the same names: a causal transformer
            over token embeddings, whose row at the end token (the largest id) is projected.
    """

    attn_mask: Tensor
    takes_embedded = True
    """Whether :meth:`encode_embedded` works, which soft prompts need."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name in _PARTS:
            setattr(self, name, getattr(model, name))
        self.positional_embedding = model.positional_embedding
        self.text_projection = model.text_projection
        self.register_buffer("attn_mask", model.attn_mask, persistent=False)

    def embed(self, ids: Tensor) -> Tensor:
        """Return embedded tokens ``[n, L, w]`` of ids ``[n, L]``, without positions."""
        return self.token_embedding(ids)

    def encode_embedded(self, embedded: Tensor, ids: Tensor) -> Tensor:
        """Return unit vectors ``[n, D]``; gradients reach ``embedded``.

        Args:
            embedded: ``[n, L, w]``, such as :meth:`embed` gives, or with soft rows among them.
            ids: ``[n, L]``, which tell where the prompts end.
        """
        length = embedded.shape[1]
        x = embedded + self.positional_embedding[:length]
        x = self.ln_final(self.transformer(x, attn_mask=self.attn_mask[:length, :length]))
        last = x[torch.arange(len(x), device=x.device), ids.argmax(1)]
        return F.normalize(self._project(last).float(), dim=1)

    def _project(self, x: Tensor) -> Tensor:
        if self.text_projection is None:
            return x
        if isinstance(self.text_projection, nn.Linear):
            return self.text_projection(x)
        return x @ self.text_projection

    def encode(self, ids: Tensor) -> Tensor:
        """Return unit vectors ``[n, D]`` of token ids ``[n, L]``."""
        return self.encode_embedded(self.embed(ids), ids)

    def cut(self, ids: Tensor) -> Tensor:
        """Return ids ``[n, l]`` up to the end of the longest prompt: what follows is never seen.

        Attention is causal, so that embeddings stay what they are.
        """
        return ids[:, : int(ids.argmax(1).max()) + 1]


class WholeTextTower(nn.Module):
    """A text tower of another kind (SigLIP's, a BERT): from token ids alone.

    Args:
        model: open_clip's ``CustomTextCLIP``, or a ``CLIP`` that pools its tokens otherwise.
    """

    takes_embedded = False

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.text = model.text if hasattr(model, "text") else model

    def encode(self, ids: Tensor) -> Tensor:
        """Return unit vectors ``[n, D]`` of token ids ``[n, L]``."""
        encode = getattr(self.text, "encode_text", self.text)
        return F.normalize(encode(ids).float(), dim=1)

    def cut(self, ids: Tensor) -> Tensor:
        """Return the ids as they are."""
        return ids


def norm_parameters(tower: nn.Module) -> list[nn.Parameter]:
    """Return the affine parameters of a text tower's norm layers, in module order."""
    return list(_norms(tower))


def _norms(tower: nn.Module) -> Iterator[nn.Parameter]:
    for module in tower.modules():
        if is_norm_layer(module):
            yield from module.parameters(recurse=False)
