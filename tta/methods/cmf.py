"""CMF: continual momentum filtering of the adapted parameters."""

from __future__ import annotations

from dataclasses import dataclass

from tta.methods.params import param
from tta.methods.roid import Roid
from tta.ops.ema import ema_update

REFERENCE_PARAMETERS = 38_400
"""Affine parameters of the LayerNorms of a ViT-B, which the process noise is published for."""


class ContinualMomentumFiltering(Roid):
    """ROID with a Kalman filter in place of the average with the source.

    A hidden model drifts back to the source and takes the adapted parameters for noisy
    observations of itself; the adapted parameters then move a little towards it (Lee and Chang,
    ICLR 2024). ``compat=True`` is as for ROID: in a window the sum of losses, not their mean.
    """

    name = "cmf"
    paper = "Lee and Chang, Continual momentum filtering on parameter space, ICLR 2024"
    state = (*Roid.state, "hidden", "variance")

    @dataclass(frozen=True)
    class Params(Roid.Params):
        """Hyper-parameters."""

        hidden_weight: float = param(
            0.01, "step of the parameters to the hidden model", minimum=0.0, maximum=1.0
        )
        process_noise: float = param(
            0.005, "q: noise of the drift, for 38400 parameters", minimum=0.0, maximum=1.0
        )
        minimum_decay: float = param(
            0.89, "least share of the hidden model that a step keeps", minimum=0.0, maximum=1.0
        )

    def configure(self) -> None:
        super().configure()
        self.hidden = [parameter.detach().clone() for parameter in self.parameters]
        self.variance = 0.0
        count = sum(parameter.numel() for parameter in self.parameters)
        self.noise = min(1.0, self.params.process_noise * count / REFERENCE_PARAMETERS)

    def ensemble(self) -> None:
        params = self.params
        ema_update(self.hidden, self.source_parameters, params.source_decay)
        decay = self._gain()
        ema_update(self.hidden, self.parameters, decay)
        ema_update(self.parameters, self.hidden, 1 - params.hidden_weight)

    def _gain(self) -> float:
        """Update the filter's variance and return the share of the hidden model to keep."""
        predicted = self.params.source_decay**2 * self.variance + self.noise
        observed = 1 - self.noise
        decay = max(observed / (predicted + observed), self.params.minimum_decay)
        decay = 1.0 if decay >= 0.9999 else decay
        self.variance = decay * predicted
        return decay
