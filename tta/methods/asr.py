"""ASR: adaptive and selective reset of a model on its way to collapse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tta.methods.params import param
from tta.methods.plug_in import PlugIn, PlugInParams
from tta.methods.state import restore
from tta.ops.ema import ema_update
from tta.ops.loss_scaling import scale_state
from tta.ops.losses import entropy
from tta.ops.prior_correction import correct_prior


class AdaptiveSelectiveReset(PlugIn):
    """Lets ETA or ROID adapt, and resets the last layers when predictions concentrate.

    The entropy of a batch's mean logits is compared with its own moving threshold, which follows
    it the faster the more predictions agree with the source model's. Once below, the parameters
    of the last layers go back to the source, the more of them the deeper the fall, and the
    optimiser and the inner method's mean prediction start anew. What was learned until then stays
    on as an anchor: a penalty draws the parameters to their mean, weighted by their mean squared
    gradients, and by the square of the share of predictions that differ from the source's (Lim
    et al., ICLR 2026). With a single image per batch every certain prediction is a reset.

    ROID's outputs are corrected by their prior, and judged before that. In the published code a
    reset with ROID changes the model that weights are averaged with and leaves the adapted one as
    it is; ``compat=True`` does the same (``inner.compat`` is ROID's own). With ETA it changes
    nothing.
    """

    name = "asr"
    paper = "Lim et al., When and where to reset matters for long-term TTA, ICLR 2026"
    resets_often = True
    state = (
        "inner",
        "reset_parameters",
        "threshold",
        "strength",
        "steps",
        "resets",
        "squared_gradients",
        "parameter_sums",
        "importance",
        "centre",
    )

    @dataclass(frozen=True)
    class Params(PlugInParams):
        """Hyper-parameters; those of the method inside are ``inner.NAME``."""

        inner: str = param("eta", "the method inside", choices=("eta", "roid"))
        threshold_rate: float = param(
            0.15, "M0: step of the threshold where no prediction differs", minimum=0.0, maximum=1.0
        )
        penalty: float = param(
            5.0, "P0: weight of the penalty where all predictions differ", minimum=0.0
        )
        initial_share: float = param(
            0.5, "A0: the threshold starts at ln of this share of the classes", minimum=1e-6
        )
        kept_share: float = param(
            0.5, "R0: share of the parameters that a reset keeps at most", minimum=0.0, maximum=1.0
        )
        kept_slope: float = param(
            20.0, "R1: how much less for each nat below the threshold", unit="1/nat", minimum=0.0
        )
        compat: bool = param(
            False, "with ROID, reset the model that weights are averaged with, as published"
        )

    def configure(self) -> None:
        super().configure()
        self.source = self.backbone.clone().requires_grad_(False)
        self.parameters = self.inner.parameters
        self.source_parameters = [parameter.detach().clone() for parameter in self.parameters]
        averaged = self.params.compat and self.params.inner == "roid"
        self.reset_parameters = self.inner.source_parameters if averaged else self.parameters
        self.strength, self.steps, self.resets = 0.0, 0, 0
        self.threshold = self._initial_threshold()
        for name in ("squared_gradients", "parameter_sums", "importance", "centre"):
            setattr(self, name, [torch.zeros_like(values) for values in self.source_parameters])
        self.inner.optimizer.register_step_pre_hook(self._penalize)

    def _initial_threshold(self) -> float:
        return math.log(self.params.initial_share * self.backbone.num_classes)

    def step(self, images: Tensor) -> Tensor:
        self.steps += 1
        torch._foreach_add_(self.parameter_sums, [p.detach() for p in self.parameters])
        roid = self.params.inner == "roid"
        self.hand_down()
        logits = self.inner.adapt(images) if roid else self.inner.step(images)
        # Waits for the device, as the method inside has: both figures decide what the host does.
        concentration, differing = self._judge(images, logits).tolist()
        self.strength = self.params.penalty * differing**2
        if concentration < self.threshold:
            self._reset_last_layers(self.threshold - concentration)
        elif math.isfinite(concentration):
            rate = self.params.threshold_rate * (1 - differing)
            self.threshold += rate * (concentration - self.threshold)
        return correct_prior(logits) if roid else logits

    @torch.no_grad()
    def _judge(self, images: Tensor, logits: Tensor) -> Tensor:
        """Return the entropy of the mean logits, and the share that the source would change."""
        differing = self.source(images).argmax(1) != logits.argmax(1)
        return torch.stack([entropy(logits.mean(0, keepdim=True))[0], differing.float().mean()])

    @torch.no_grad()
    def _penalize(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Add the penalty's gradient to the inner method's, just before its optimiser steps."""
        rows = [row for row, p in enumerate(self.parameters) if p.grad is not None]
        of_used = [
            [group[row] for row in rows]
            for group in (self.parameters, self.squared_gradients, self.importance, self.centre)
        ]
        parameters, squares, importance, centre = of_used
        gradients = [parameter.grad for parameter in parameters]
        overflow = getattr(optimizer, "found_inf", None)
        counted = gradients
        if overflow is not None:  # float16: a step that is left out leaves no trace
            counted = [gradient.where(overflow == 0, 0) for gradient in gradients]
        torch._foreach_addcmul_(squares, counted, counted)
        away = torch._foreach_sub(parameters, centre)
        torch._foreach_addcmul_(gradients, importance, away, value=2 * self.strength)

    @torch.no_grad()
    def _reset_last_layers(self, fall: float) -> None:
        self._anchor()
        share = max(self.params.kept_share - self.params.kept_slope * fall, 0.0)
        kept = math.ceil(share * len(self.parameters))
        values = [*self.parameters[:kept], *self.source_parameters[kept:]]
        torch._foreach_copy_(self.reset_parameters, values)
        scale = scale_state(self.inner.optimizer)
        for name in ("optimizer", "mean_probabilities"):
            fresh = restore(getattr(self.inner, name), self._initial["inner"][name])
            setattr(self.inner, name, fresh)
        self.inner.optimizer.param_groups[0].update(scale)
        self.threshold = self._initial_threshold()
        self.steps = 0

    def _anchor(self) -> None:
        """Make this round's mean parameters and squared gradients the anchor, or part of it."""
        decay = 0.9 if self.resets else 0.0
        for anchor, sums in (
            (self.importance, self.squared_gradients),
            (self.centre, self.parameter_sums),
        ):
            ema_update(anchor, torch._foreach_div(sums, self.steps), decay)
            torch._foreach_zero_(sums)
        self.resets += 1
