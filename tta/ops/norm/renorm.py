"""Test-time batch renormalisation: running statistics in value, batch statistics in gradient.

With batch moments (mean_b, var_b) and running moments (mean_r, var_r)

    r = sg[std_b] / std_r,    d = (sg[mean_b] - mean_r) / std_r
    y = weight * ((x - mean_b) / std_b * r + d) + bias

which equals ``weight * (x - mean_r) / std_r + bias``, while its gradient is that of batch
normalisation. Ioffe, Batch renormalization, 2017, without clipping; at test time DELTA (Zhao et
al., ICLR 2023) and CEMA (Chen et al., ICLR 2024).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tta.ops.norm.batch_norm import AdaptiveBatchNorm
from tta.ops.norm.fusible import fusible_batch_norm, fusible_moments
from tta.ops.norm.mixed_batch_norm import batch_moments

DEFAULT_MOMENTUM = 0.1


class RenormBatchNorm(AdaptiveBatchNorm):
    """Normalises with running test statistics, which start at the source's.

    ``statistics`` says what a forward does to them: ``use`` leaves them, ``move`` draws them
    towards the batch (by the layer's momentum, unbiased variance) after normalising, and
    ``adopt`` replaces them by the batch's before. A batch with one value per channel has no
    variance and only ever uses them.

    Args:
        layer: the layer to replace.
    """

    def __init__(self, layer: _BatchNorm) -> None:
        super().__init__(layer)
        device = next((t.device for t in (*self.parameters(), *self.buffers())), None)
        zeros = torch.zeros(self.num_features, device=device)
        mean, var = self.source_moments or (zeros, zeros + 1)
        self.register_buffer("mean", mean.detach().clone(), persistent=False)
        self.register_buffer("var", var.detach().clone(), persistent=False)
        self.statistics = "use"

    def normalize(self, x: Tensor) -> Tensor:
        values_per_channel = x.numel() // x.shape[1]
        if values_per_channel < 2 or self.statistics == "use" and not x.requires_grad:
            return F.batch_norm(
                x, self.mean, self.var, self.weight, self.bias, False, 0.0, self.eps
            )
        mean, var = batch_moments(x.detach())
        unbiased = var * (values_per_channel / (values_per_channel - 1))
        if self.statistics == "adopt":
            self._move(mean, unbiased, 1.0)
        y = self._renormalize(x, mean, var)
        if self.statistics == "move":
            self._move(mean, unbiased, self.momentum or DEFAULT_MOMENTUM)
        return y

    def _renormalize(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        running_std = (self.var + self.eps).sqrt()
        r = (var + self.eps).sqrt() / running_std
        d = (mean - self.mean) / running_std
        scale = r if self.weight is None else r * self.weight
        shift = d if self.weight is None else d * self.weight
        if self.bias is not None:
            shift = shift + self.bias
        if torch.compiler.is_compiling():
            return fusible_batch_norm(x, fusible_moments(x), scale, shift, self.eps)
        return F.batch_norm(x, None, None, scale, shift, True, 0.0, self.eps)

    @torch.no_grad()
    def _move(self, mean: Tensor, var: Tensor, momentum: float) -> None:
        self.mean.lerp_(mean.to(self.mean.dtype), momentum)
        self.var.lerp_(var.to(self.var.dtype), momentum)


def set_statistics(layers: list[AdaptiveBatchNorm], statistics: str) -> None:
    """Set what the next forwards do to the running statistics of ``layers``.

    Layers of other kinds, which keep none, are left alone.
    """
    for layer in layers:
        if isinstance(layer, RenormBatchNorm):
            layer.statistics = statistics


def running_statistics(layers: list[AdaptiveBatchNorm]) -> list[Tensor]:
    """Return the running mean and variance, the tensors themselves, of layers that keep them."""
    kept = [layer for layer in layers if isinstance(layer, RenormBatchNorm)]
    return [tensor for layer in kept for tensor in (layer.mean, layer.var)]
