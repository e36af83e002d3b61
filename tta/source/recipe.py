"""How source models are trained; it needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from tta.foundation.errors import UserError


@dataclass(frozen=True)
class Recipe:
    """How a source model is trained.

    Attributes:
        drm: train a head per domain beside the shared one; otherwise the shared one alone (ERM).
        steps: optimiser steps.
        batch_size: images of every domain per step.
        lr: learning rate of Adam.
        weight_decay: of Adam.
        freeze_batch_norm: keep the running statistics that a pretrained network came with.
        instance_aware: train with instance-aware batch norm, as NOTE needs it.
        adapters: train with ViDA's adapters in the attention of a vision transformer.
        validation_fraction: of every domain that is kept out of training.
        seed: of the initial weights, the validation part and the order of images.
    """

    drm: bool = True
    steps: int = 250
    batch_size: int = 16
    lr: float = 2e-3
    weight_decay: float = 0.0
    freeze_batch_norm: bool = False
    instance_aware: bool = False
    adapters: bool = False
    validation_fraction: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise UserError("training takes at least one step, on at least one image per domain")
        if not 0 <= self.validation_fraction < 1:
            raise UserError(
                "the validation fraction must be at least 0 and below 1, but is "
                f"{self.validation_fraction}"
            )
