"""Batch norm folded into the convolution before it, where neither will change.

In evaluation mode batch norm multiplies and shifts channels by constants, which a convolution can
do by its own weights. Whether a convolution stands before a layer, and nothing else reads its
result, is seen in a forward pass: names and the order of modules do not tell.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tta.backbones.backbone import Backbone

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv2dSame)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, BatchNormAct2d)
"""Classes that are known to do what is folded; others, even their subclasses, such as those that
standardise weights or correct statistics, stay as they are."""
TOLERANCE = 1e-5
"""Largest difference of features that folding may make, relative to the largest feature."""

Pair = tuple[nn.Module, _BatchNorm]


@torch.no_grad()
def folded(backbone: Backbone) -> Backbone:
    """Return a copy with batch norm folded into the convolutions before it.

    Features move by rounding alone, at most :data:`TOLERANCE` of their scale on the images tried;
    where they would move by more nothing is folded. Only float32 has so many digits: in other
    precisions nothing is folded either.

    Args:
        backbone: in evaluation mode; left as it is.
    """
    images, copy = _images(backbone), backbone.clone()
    if backbone.precision is not torch.float32:
        return copy
    pairs = _pairs(copy, images)
    for convolution, norm in pairs:
        _fold(convolution, norm)
    _leave_out(copy, {norm for _, norm in pairs})
    expected, features = backbone._features(images), copy._features(images)
    is_near = (features - expected).abs().max() <= TOLERANCE * expected.abs().max()
    return copy if is_near else backbone.clone()


def _images(backbone: Backbone) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, *backbone.input_size, generator=generator)
    return images.to(backbone.mean.device)


def _pairs(backbone: Backbone, images: Tensor) -> list[Pair]:
    """Return each layer that can be folded, with the convolution before it."""
    parts = list(backbone.modules())
    owners = Counter(id(tensor) for part in parts for tensor in _own_tensors(part))
    with contextlib.ExitStack() as stack:
        reads = _Reads()
        for part in filter(lambda part: _is_plain(part, owners), parts):
            if type(part) in CONVOLUTIONS:
                stack.enter_context(part.register_forward_hook(reads.made))
            elif type(part) in NORMS and part.running_mean is not None:
                stack.enter_context(part.register_forward_pre_hook(reads.entered))
                stack.enter_context(part.register_forward_hook(reads.left))
        stack.enter_context(reads)
        backbone._features(images)
    return reads.pairs()


def _own_tensors(part: nn.Module) -> list[Tensor]:
    return [
        tensor
        for tensor in (*part._parameters.values(), *part._buffers.values())
        if tensor is not None
    ]


def _is_plain(part: nn.Module, owners: Mapping[int, int]) -> bool:
    """Return whether nobody else has a hand in what the module does, or in its tensors."""
    hooked = part._forward_hooks or part._forward_pre_hooks or hasattr(part, "parametrizations")
    return not hooked and all(owners[id(tensor)] == 1 for tensor in _own_tensors(part))


class _Reads(TorchDispatchMode):
    """Sees what reads the results of convolutions in a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self._reads: Counter[int] = Counter()
        self._calls: Counter[nn.Module] = Counter()
        self._results: dict[int, tuple[nn.Module, Tensor]] = {}  # kept: ids are of living tensors
        self._pairs: list[tuple[nn.Module, _BatchNorm, int]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping | None = None
    ) -> Any:
        given = {id(value) for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)}
        self._reads.update(given)
        return function(*args, **(kwargs or {}))

    def made(self, convolution: nn.Module, inputs: Any, result: Tensor) -> None:
        """Take note of a convolution's result."""
        self._calls[convolution] += 1
        self._results[id(result)] = convolution, result
        self._reads[id(result)] = 0

    def entered(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Take note of what a layer is about to normalise, if nothing has read it before."""
        self._calls[norm] += 1
        found = self._results.get(id(inputs[0]))
        if found is not None and self._reads[id(inputs[0])] == 0:
            self._pairs.append((found[0], norm, id(inputs[0])))

    def left(self, norm: nn.Module, inputs: tuple[Tensor, ...], result: Tensor) -> None:
        """Forget what the layer itself has read."""
        self._reads[id(inputs[0])] = 0

    def pairs(self) -> list[Pair]:
        """Return the pairs of which each part ran once, and no other read what is between."""
        return [
            (convolution, norm)
            for convolution, norm, between in self._pairs
            if self._calls[convolution] == self._calls[norm] == 1 and not self._reads[between]
        ]


def _fold(convolution: nn.Module, norm: _BatchNorm) -> None:
    """Give the convolution the weights that do what both do, computed in float64."""
    mean, var = norm.running_mean.double(), norm.running_var.double()
    scale = torch.rsqrt(var + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight.double()
    shift = -mean * scale
    if convolution.bias is not None:
        shift = shift + convolution.bias.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    weight = convolution.weight
    shape = [-1] + [1] * (weight.dim() - 1)
    weight.copy_(weight.double() * scale.view(shape))
    convolution.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=False)


def _leave_out(model: nn.Module, norms: set[_BatchNorm]) -> None:
    """Put in place of each layer what is left of it: the activation that timm fuses with it."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child in norms:
                fused = isinstance(child, BatchNormAct2d)
                left = nn.Sequential(child.drop, child.act) if fused else nn.Identity()
                setattr(parent, name, left.eval())
