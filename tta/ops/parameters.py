"""Which parameters a method trains; how far they point apart.

By module type and never by name, but for :func:`weights_and_biases`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

NORM_TYPES = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
# Those of timm and others that are no such type, by the name of their class or of one that it is
# made from. Global response norm is none of them: it scales a layer's response and adds it.
_NORM_NAMES = re.compile(
    r"(Rms|RMS|Simple)Norm(2d)?(Fp32)?|EvoNorm2d\w+|FilterResponseNorm\w+|InplaceAbn"
    r"|FrozenBatchNorm(Act)?2d"
)
_AFFINE = ("weight", "bias")  # and not what a fused activation learns (v, tau)


def is_norm_layer(module: nn.Module) -> bool:
    """Return whether a module is a normalisation layer, by its type."""
    if isinstance(module, NORM_TYPES):
        return True
    return any(_NORM_NAMES.fullmatch(kind.__name__) for kind in type(module).__mro__)


def norm_kinds(model: nn.Module) -> list[str]:
    """Return the names of the types of normalisation layers in the model, each once."""
    kinds = (type(module).__name__ for module in model.modules() if is_norm_layer(module))
    return list(dict.fromkeys(kinds))


def norm_affine_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the affine parameters that normalisation layers own, each once, in module order."""
    found: dict[nn.Parameter, None] = {}
    for module in model.modules():
        if is_norm_layer(module):
            own = module.named_parameters(recurse=False)
            found.update(dict.fromkeys(value for name, value in own if name in _AFFINE))
    return list(found)


def all_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return every parameter of the model, class tokens and position embeddings included."""
    return list(model.parameters())


def weights_and_biases(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that their module calls ``weight`` or ``bias``, in the model's order.

    That is what mariodoebler/test-time-adaptation and CoTTA's own code train as all parameters.
    Left out are class tokens, position embeddings, layer scales, and pairs of weight norm.
    """
    return [
        parameter
        for name, parameter in model.named_parameters()
        if name.rpartition(".")[2] in ("weight", "bias")
    ]


class MeanCosine:
    """The cosine between each tensor and its reference, as vectors, averaged.

    Tensors of one size are compared at once: a network has hundreds, of few sizes.

    Args:
        references: what later tensors, of the same sizes and in the same order, are compared with;
            copied.
    """

    def __init__(self, references: Sequence[Tensor]) -> None:
        groups: dict[int, list[int]] = {}
        for number, tensor in enumerate(references):
            groups.setdefault(tensor.numel(), []).append(number)
        self._groups = list(groups.values())
        self._references = [_vectors(references, group).detach() for group in self._groups]
        # Averaged in the order of the references: the last bits of a sum depend on it.
        order = torch.tensor([number for group in self._groups for number in group]).argsort()
        self._order = order.to(references[0].device)

    def __call__(self, parameters: Sequence[Tensor]) -> Tensor:
        """Return the average, a scalar."""
        cosines = [
            F.cosine_similarity(_vectors(parameters, group), reference, dim=1)
            for group, reference in zip(self._groups, self._references, strict=True)
        ]
        return torch.cat(cosines).index_select(0, self._order).mean()


def _vectors(tensors: Sequence[Tensor], numbers: Sequence[int]) -> Tensor:
    """Return the numbered tensors, which have one size, as the rows of a matrix."""
    return torch.stack([tensors[number].flatten() for number in numbers])
