"""Prompts among the tokens of a vision transformer, and its class token after every block."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tta.backbones.backbone import Backbone


class PromptedTransformer:
    """A vision transformer with a class token, and prompts right after it.

    Args:
        backbone: for which ``is_class_token_transformer`` holds; gets hooks, which change nothing
            where no prompts are given.
    """

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self._prompts: Tensor | None = None
        self._activations: list[Tensor] = []
        model = backbone.model
        model.norm_pre.register_forward_pre_hook(self._insert)
        for block in model.blocks[1:]:
            block.norm1.register_forward_hook(self._collect)
        self.patch_size: tuple[int, int] = model.patch_embed.patch_size

    def _insert(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
        if self._prompts is None:
            return None
        (tokens,) = inputs
        prompts = self._prompts.to(tokens.dtype).expand(len(tokens), -1, -1)
        return (torch.cat([tokens[:, :1], prompts, tokens[:, 1:]], 1),)

    def _collect(self, module: nn.Module, inputs: Any, normalised: Tensor) -> None:
        self._activations.append(normalised[:, 0].float())

    def drawn(self, count: int, generator: torch.Generator) -> Tensor:
        """Return prompts ``[count, D]`` to start from, float64 on the host.

        As visual prompt tuning starts them (Jia et al., ECCV 2022).
        """
        width = self.backbone.feature_dim
        bound = math.sqrt(6 / (3 * math.prod(self.patch_size) + width))
        shares = torch.rand(count * width, generator=generator, dtype=torch.float64)
        return ((2 * shares - 1) * bound).view(count, width)

    def features(self, images: Tensor, prompts: Tensor | None = None) -> Tensor:
        """Return the features ``[B, D]`` that the head takes: the class token at the end.

        Args:
            images: ``[B, 3, H, W]`` in [0, 1].
            prompts: ``[P, D]``, or None for the network as it is.
        """
        with self._shown(prompts):
            return self.backbone.features(images)

    def activations(self, images: Tensor, prompts: Tensor | None = None) -> Tensor:
        """Return the class token after each of the L blocks, ``[B, L * D]``.

        Each as the next block's first norm layer gives it; the last D columns are
        :meth:`features`, of the same arguments.
        """
        with self._shown(prompts):
            features = self.backbone.features(images)
            return torch.cat([*self._activations, features], 1)

    @contextlib.contextmanager
    def _shown(self, prompts: Tensor | None) -> Iterator[None]:
        self._prompts, self._activations = prompts, []
        try:
            yield
        finally:
            self._prompts, self._activations = None, []
