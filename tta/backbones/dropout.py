"""Dropout after the stages of a model that has none, on and off from outside."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tta.backbones.backbone import Backbone
from tta.backbones.compilation import Compilation
from tta.backbones.stages import stage_modules
from tta.foundation.errors import UserError


class StageDropout:
    """Drops units after each of at most four stages of a model and of all its later copies.

    Off, it changes nothing, and draws nothing.

    Args:
        backbone: to attach it to.
        rate: share of the units that are dropped, above 0 and below 1; the others are scaled up.

    Raises:
        UserError: the model does not tell its stages.
    """

    def __init__(self, backbone: Backbone, rate: float) -> None:
        self.rate = rate
        self._generator: torch.Generator | None = None
        stages = stage_modules(backbone.model)
        if not stages:
            raise UserError(
                f"--estimate aetta drops units after the stages of a model, and "
                f"{backbone.name!r} does not tell its stages: give it timm's group_matcher(), or "
                "choose --estimate softmax"
            )
        for stage in stages:
            stage.register_forward_hook(self._drop)

    def __deepcopy__(self, memo: dict[int, Any]) -> StageDropout:
        return self  # copies of the model are switched together

    @contextlib.contextmanager
    def on(
        self, generator: torch.Generator, compilation: Compilation | None = None
    ) -> Iterator[None]:
        """Drop units meanwhile, drawn on the device of ``generator``, which must be the model's.

        ``compilation`` is that of the model that runs: it pauses.
        """
        self._generator = generator
        paused = compilation.paused() if compilation else contextlib.nullcontext()
        try:
            with paused:  # a compiler does not take a generator
                yield
        finally:
            self._generator = None

    def _drop(self, stage: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        if self._generator is None:
            return None
        kept = torch.empty_like(output).bernoulli_(1 - self.rate, generator=self._generator)
        return output * kept / (1 - self.rate)
