"""Robust weight signatures: weights that a corruption asks for, added to the source's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tta.foundation.errors import UserError, did_you_mean
from tta.methods.base import Method, Need
from tta.methods.params import param
from tta.methods.weight_files import file_digests, stacked, stacked_moments
from tta.ops.losses import entropy
from tta.ops.norm.batch_norm import AdaptiveBatchNorm, replace_batch_norm, require_source_statistics
from tta.ops.norm.input_moments import measured_inputs, moments_apart
from tta.source.checkpoint_vectors import check_fits
from tta.source.weight_vector_files import read_vectors
from tta.source.weight_vectors import WeightVectors


class RobustWeightSignatures(Method):
    """Adds to the source weights the signature of the corruption that a batch seems to have.

    A signature is what training on one corruption changes of the weights beside what training on
    clean images does, see :func:`tta.source.weight_vectors.signature`; a file holds those of
    several corruptions (Cai et al., ICML 2023). The paper's user knows the corruption and patches
    the model once, which is ``signature``: several names, joined by +, are averaged. A method
    here sees images and no name of a domain, so that an oracle per domain is left out; what chooses
    among signatures and none, anew for every batch, is not of the paper: the least mean entropy of
    the batch's predictions, which takes a forward pass for each; or the least distance of the
    inputs of the source model's batch-norm layers to those that were measured under each corruption
    on source images, which takes two passes.

    The paper gives a patched model the averaged batch-norm layers of the robust models, or
    statistics estimated on corrupted training images. Here affine parameters are among the
    signature's, and statistics are the test batch's, mixed with the source's by ``target_weight``
    as by alpha-BN. In the published code the scale enters twice, as a square; here it is
    ``scale``.

    All signatures are kept beside the model, in float32.
    """

    name = "rws"
    paper = (
        "Cai et al., Robust weight signatures: gaining robustness by patching weights?, ICML 2023"
    )
    predicts = "after"
    state = ("parameters", "chosen")

    @dataclass(frozen=True)
    class Params:
        """Hyper-parameters."""

        signatures: str | None = param(
            None, "where signatures for this network are kept; has to be given", unit="file"
        )
        signature: str | None = param(
            None, "name of one, or of several joined by +, that is added throughout"
        )
        choice: str = param(
            "entropy",
            "what else chooses: least entropy, or nearest statistics of batch-norm inputs",
            choices=("entropy", "statistics"),
        )
        scale: float = param(1.0, "alpha: what signatures are multiplied by", minimum=0.0)
        target_weight: float = param(
            1.0, "weight of the test batch's statistics", minimum=0.0, maximum=1.0
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset() if params.signatures else frozenset({Need.WEIGHT_VECTORS})

    def configure(self) -> None:
        if self.params.target_weight < 1:
            require_source_statistics(self.backbone)
        self.digests = file_digests(signatures=self.params.signatures)
        found = self._read()
        self.names = found.names
        self.layers = replace_batch_norm(self.backbone, self._layer)
        self.parameters, self.changes = stacked(found, self.backbone, self.params.scale)
        self.source_values = [parameter.detach().clone() for parameter in self.parameters]
        self.chosen = torch.zeros((), dtype=torch.long, device=self.backbone.mean.device)
        if self.params.signature is not None:
            self._add(self._shares(self.params.signature))
        elif self.params.choice == "statistics":
            self.moments = self._moments(found)

    def _read(self) -> WeightVectors:
        if self.params.signatures is None:
            return WeightVectors({})
        found = read_vectors(self.params.signatures)
        check_fits(found, self.params.signatures, self.backbone)
        return found

    def _layer(self, layer: _BatchNorm) -> AdaptiveBatchNorm:
        return AdaptiveBatchNorm(layer, self.params.target_weight)

    def _shares(self, named: str) -> Tensor:
        """Return the share of each signature ``[K + 1]``, none being the first."""
        shares = self.backbone.mean.new_zeros(len(self.names) + 1)
        names = named.split("+")
        for name in names:
            if name not in self.names:
                hint = did_you_mean(name, self.names)
                raise UserError(f"the file of signatures has none of {name!r}; {hint}")
            shares[self.names.index(name) + 1] += 1 / len(names)
        return shares

    def _moments(self, found: WeightVectors) -> dict[str, Tensor]:
        """Return the moments under each corruption ``[K + 1, 2, C]``, by layer."""
        if not self.names:
            return {}
        return stacked_moments(found, self.params.signatures, self.backbone)

    @torch.no_grad()
    def step(self, images: Tensor) -> Tensor:
        if self.params.signature is not None or not self.names:
            return self.predict(images)
        if self.params.choice == "statistics":
            self._choose(self._distances(images))
            return self.predict(images)
        tried = range(len(self.names) + 1)
        outputs = torch.stack([self._tried(number, images) for number in tried])
        self._choose(entropy(outputs.flatten(0, 1)).view(outputs.shape[:2]).mean(1))
        return outputs.index_select(0, self.chosen[None])[0]

    def _tried(self, number: int, images: Tensor) -> Tensor:
        for parameter, source, change in self._tensors():
            parameter.copy_(source + change[number])
        return self.backbone(images)

    def _tensors(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield each parameter, its source value, and its changes ``[K + 1, ...]``."""
        return zip(self.parameters, self.source_values, self.changes, strict=True)

    def _distances(self, images: Tensor) -> Tensor:
        """Return how far inputs of the source model's layers are from those known ``[K + 1]``."""
        torch._foreach_copy_(self.parameters, self.source_values)
        self._set_weight(0.0)
        compilation, self.backbone.compilation = self.backbone.compilation, None  # it sees no hooks
        with measured_inputs(self.backbone.model) as found:
            self.backbone.features(images)
        self.backbone.compilation = compilation
        self._set_weight(self.params.target_weight)
        apart = [
            moments_apart(found[layer], known, known[0, 1] + 1e-5)
            for layer, known in self.moments.items()
        ]
        return torch.stack(apart).mean(0)

    def _set_weight(self, target_weight: float) -> None:
        for layer in self.layers:
            layer.target_weight = target_weight

    def _choose(self, costs: Tensor) -> None:
        """Add the signature of the least cost ``[K + 1]``; what is no number is never the least."""
        self.chosen.copy_(costs.nan_to_num(nan=torch.inf).argmin())
        for parameter, source, change in self._tensors():
            parameter.copy_(source + change.index_select(0, self.chosen[None])[0])

    @torch.no_grad()
    def _add(self, shares: Tensor) -> None:
        """Let weights be the source's and shares ``[K + 1]`` of the signatures."""
        for parameter, source, change in self._tensors():
            parameter.copy_(source + torch.tensordot(shares, change, 1))
