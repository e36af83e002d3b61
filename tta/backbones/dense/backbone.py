"""A network that segments as features and a convolution over them, normalisation inside."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import Tensor, nn

from tta.backbones.backbone import Backbone, at_least_float32
from tta.backbones.domain_heads import DomainHeads
from tta.foundation.errors import UserError
from tta.ops.maps import enlarged


class DenseBackbone(Backbone):
    """A copy of a network that segments behind ``features()`` and ``head()``.

    The model has ``forward_features``, which returns the map before the classifier, and
    ``get_classifier``, which returns that convolution. Its own ``forward`` may give logits in any
    size; those of the head are at the network's stride, and enlarging them (bilinearly,
    ``align_corners`` as the model says) gives the model's.

    Features are maps ``[B, D, h, w]``, logits ``[B, num_classes, h, w]``. All else is as in
    :class:`~tta.backbones.backbone.Backbone`.

    Raises:
        UserError: the classifier is no convolution, or features and head together do not give what
            the model itself gives.
    """

    dense = True
    calls = ("forward_features", "get_classifier")
    wanted = "a network that ends in a convolution over one map, which is then enlarged bilinearly"

    @property
    def align_corners(self) -> bool:
        """How logits are enlarged, as the model was trained."""
        return bool(getattr(self.model, "align_corners", False))

    @property
    def preprocessing(self) -> list[Any]:
        """See :class:`~tta.backbones.backbone.Backbone`; here also what logits losses see."""
        return [*super().preprocessing, self.align_corners, self.at_input_size]

    def _features(self, images: Tensor) -> Tensor:
        return at_least_float32(self.model.forward_features(self._normalise(images)))

    def head(self, features: Tensor) -> Tensor:
        """Return logits [B, num_classes, h, w] of features [B, D, h, w]; at least float32."""
        return self._select(at_least_float32(self.classifier(features)))

    def logits(self, features: Tensor, images: Tensor) -> Tensor:
        """Return logits of the features of some images, enlarged where ``at_input_size`` says."""
        logits = self.head(features)
        if not self.at_input_size:
            return logits
        return enlarged(logits, tuple(images.shape[-2:]), self.align_corners)

    def attach(self, domain_heads: DomainHeads) -> NoReturn:
        """Refuse heads of single source domains, which are for one feature vector per image."""
        raise UserError(
            f"backbone {self.name!r} segments, and heads of single source domains are for "
            "networks that classify; choose a checkpoint without them"
        )

    def _is_head(self, layer: nn.Module) -> bool:
        return isinstance(layer, nn.Conv2d)

    def _sized(self, logits: Tensor, like: Tensor) -> Tensor:
        return enlarged(logits, tuple(like.shape[-2:]), self.align_corners)
