"""Which parameters a method trains; how far they point apart.

By module type and never by name, but for :func:`weights_and_biases`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
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
_SMALLEST = 1e-8  # norm that a vector is divided by, as in torch's cosine_similarity
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


def convolution_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return weights and biases of two-dimensional convolutions, each once, in module order."""
    found: dict[nn.Parameter, None] = {}
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
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
        self._numbers = [number for group in groups.values() for number in group]
        self._shapes = [(len(group), size) for size, group in groups.items()]
        self._references = _of_length_one(self._vectors([t.detach() for t in references]))
        # Averaged in the order of the references: the last bits of a sum depend on it.
        self._order = torch.tensor(self._numbers).argsort().to(references[0].device)

    def __call__(self, parameters: Sequence[Tensor]) -> Tensor:
        """Return the average, a scalar."""
        vectors = self._vectors(parameters)
        products = torch._foreach_mul(_of_length_one(vectors), self._references)
        cosines = [product.sum(1) for product in products]
        return torch.cat(cosines).index_select(0, self._order).mean()

    def _vectors(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return tensors of one size as the rows of a matrix, for every size."""
        values = torch.cat([tensors[number].flatten() for number in self._numbers])
        groups = values.split([count * size for count, size in self._shapes])
        return [group.view(shape) for group, shape in zip(groups, self._shapes, strict=True)]


def _of_length_one(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Return matrices with rows divided by their norms, as cosine_similarity divides them."""
    norms = [torch.linalg.vector_norm(matrix, dim=1, keepdim=True) for matrix in matrices]
    return list(torch._foreach_div(list(matrices), torch._foreach_clamp_min(norms, _SMALLEST)))
