"""Methods for image-text models that adapt to a batch, predict it, and forget it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tta.methods.base import Method, Need, descend, make_optimizer, trainable
from tta.methods.params import OptimizerParams, param
from tta.methods.state import restore
from tta.ops.image_text_losses import pairing_loss
from tta.ops.loss_scaling import scale_state
from tta.ops.norm.batch_norm import replace_batch_norm
from tta.ops.parameters import norm_affine_parameters


@dataclass(frozen=True)
class PairingParams(OptimizerParams):
    """Optimiser and loss of CLIPArTT, which WATT shares."""

    temperature: float = param(0.01, "of the similarities in targets", minimum=1e-4)
    target: str = param(
        "released",
        "share of image i in the target of text j, or of text j in that of image i, as in the "
        "port of MarcLafon/cliptta; only the latter are distributions",
        choices=("released", "proper"),
    )
    detach: bool = param(False, "let no gradient flow through targets, as in that port")


class BatchEpisode(Method):
    """Trains the norm layers of the image tower on pairs of images and texts, batch by batch.

    A subclass adapts in :meth:`adapt`. Each batch is an episode of its own, optimiser state
    included: its order is of no matter, its size is. Between two batches the model is the
    zero-shot one, which :meth:`predict` uses.
    """

    predicts = "after"
    resets_often = True
    state = ("parameters", "optimizer")
    Params = PairingParams

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.IMAGE_TEXT, Need.NORM_AFFINE})

    def configure(self) -> None:
        self.layers = replace_batch_norm(self.backbone)
        self.parameters = trainable(norm_affine_parameters(self.backbone))
        self.optimizer = make_optimizer(self.parameters, self.params)

    def step(self, images: Tensor) -> Tensor:
        self.adapt(images)
        outputs = self.predict(images)
        go_back(self, *self.state)
        return outputs

    def adapt(self, images: Tensor) -> None:
        """Take steps on images ``[B, 3, H, W]``, from the source model."""
        raise NotImplementedError

    def pair(self, features: Tensor, embeddings: Tensor) -> None:
        """Take a step down the loss of images and a text for each.

        Args:
            features: unit vectors ``[B, D]`` of the images, with their graph.
            embeddings: unit vectors ``[B, D]`` of the texts.
        """
        params, scale = self.params, self.backbone.text.scale
        settings = (params.temperature, params.target == "released", params.detach)
        descend(self.optimizer, pairing_loss(features, embeddings, scale, *settings))


def go_back(method: Method, *names: str) -> None:
    """Take parts of a method's ``state`` back to the start; its generator goes on.

    So does a scale of losses, which says what float16 can hold and nothing of images.
    """
    scale = scale_state(method.optimizer)
    for name in names:
        setattr(method, name, restore(getattr(method, name), method._initial[name]))
    method.optimizer.param_groups[0].update(scale)
