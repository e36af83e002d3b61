"""A classification network as features and a linear head, normalisation inside."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tta.backbones.checkpoint import weights_sha256
from tta.backbones.clip.text_side import TextSide
from tta.backbones.compilation import Compilation
from tta.backbones.domain_heads import DomainHeads
from tta.backbones.passes import Passes
from tta.foundation.errors import UserError
from tta.ops.norm.batch_norm import moves_statistics


class Backbone(nn.Module):
    """A copy of a timm model behind ``features()`` and ``head()``.

    Args:
        model: a model with timm's ``forward_features``, ``forward_head`` and ``get_classifier``.
            It is copied, and itself left as it is.
        name: what messages and records call it.
        input_size: (C, H, W) of one image.
        mean: per channel, for images in [0, 1].
        std: per channel, for images in [0, 1].
        class_subset: ids of the classes to keep; the logits then have these columns, in this order.

    Attributes:
        num_classes: columns of the logits, after ``class_subset``.
        feature_dim: columns of the features, measured.
        weights_sha256: digest of the source weights, see ``tta.backbones.checkpoint``.
        domain_heads: heads of single source domains, for a model trained on several; else None.
        text: of an image-text model: classes, templates and text tower, which is no part of the
            modules, see :class:`tta.backbones.clip.text_side.TextSide`; else None.
        normalisation: mean and std, as given.
        label_names: what the model's configuration calls its outputs, see
            :func:`tta.tasks.classes.lists.own_names`, or None.
        understood: in words how the user's model was taken, by key of
            :data:`tta.foundation.notes.ORDER`.
        dense: whether it segments: features are a map ``[B, D, h, w]`` and logits
            ``[B, num_classes, h, w]``, at the network's own stride.
        align_corners: how such logits are enlarged to the size of label maps, as the model was
            trained.
        at_input_size: whether such logits are enlarged to the size of the images, so that losses
            are of these pixels.
        calls: what a model must offer.
        wanted: the models that are taken, for messages.
        passes: counts images through :meth:`features`, those of clones included.
        precision: type in which :meth:`features` multiplies matrices; the head, and all that is
            computed from features and logits, keep float32.
        compilation: what compiles :meth:`features`, shared by clones; None where nothing does.

    Raises:
        UserError: the classifier is neither a Linear nor a 1x1 convolution, or features and head
            together do not give what the model itself gives.
    """

    mean: Tensor
    std: Tensor
    dense: bool = False
    align_corners: bool = False
    at_input_size: bool = False
    calls: ClassVar[tuple[str, ...]] = ("forward_features", "forward_head", "get_classifier")
    wanted: ClassVar[str] = (
        "a timm model whose classifier is one Linear or 1x1 Conv2d on pooled features"
    )

    def __init__(
        self,
        model: nn.Module,
        *,
        name: str,
        input_size: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        class_subset: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.passes = Passes()
        self.precision = torch.float32
        self.compilation: Compilation | None = None
        self.input_size = tuple(input_size)
        self.normalisation = (tuple(mean), tuple(std))
        self.model = copy_module(model).requires_grad_(False)
        self.eval()
        self._check_protocol()
        device = next(self.model.parameters()).device
        # Not persistent: facts of the configuration, and no weights.
        for key, values in (("mean", mean), ("std", std)):
            constant = torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)
            self.register_buffer(key, constant, persistent=False)
        self.num_classes = self.outputs
        self.register_buffer("class_subset", None, persistent=False)
        if class_subset is not None:
            self.keep_classes(class_subset)
        self.feature_dim = self._probe()
        self.domain_heads: DomainHeads | None = None
        self.text: TextSide | None = None
        self.label_names: Sequence[str] | Mapping[Any, str] | None = None
        self.understood: dict[str, str] = {}
        self.update_digest()

    @property
    def classifier(self) -> nn.Linear | nn.Conv2d:
        """The layer that turns features into logits of all classes."""
        return self.model.get_classifier()

    @property
    def class_rows(self) -> Tensor:
        """Rows of the classifier's weight ``[num_classes, D]``, one per class."""
        rows = at_least_float32(self.classifier.weight.detach().flatten(1))
        return rows if self.class_subset is None else rows[self.class_subset]

    @property
    def outputs(self) -> int:
        """Outputs of the classifier, before ``class_subset``."""
        return _num_outputs(self.classifier)

    @property
    def class_ids(self) -> list[int] | None:
        """``class_subset`` as plain values."""
        return None if self.class_subset is None else self.class_subset.tolist()

    def keep_classes(self, class_subset: Sequence[int] | None) -> None:
        """Let logits have the columns of these outputs, in this order; None for all.

        Raises:
            UserError: an output that there is not, or one twice.
        """
        if class_subset is None:
            self.class_subset, self.num_classes = None, self.outputs
            return
        subset = _checked_subset(class_subset, self.outputs, self.name)
        self.class_subset, self.num_classes = subset.to(self.mean.device), len(subset)

    def features(self, images: Tensor) -> Tensor:
        """Return features [B, D] of images [B, C, H, W] in [0, 1]; at least float32."""
        return self._pass(type(self)._features, images)

    def embeddings(self, images: Tensor) -> Tensor:
        """Return features [B, D] of an image-text model before they are made unit vectors."""
        return self._pass(type(self)._embeddings, images)

    def _pass(self, function: Callable[[Any, Tensor], Tensor], images: Tensor) -> Tensor:
        with self._autocast():
            if self.compilation is None or self._trains_while_moving():
                features = function(self, images)
            else:
                features = self.compilation.call(function, self, images)
        self.passes.note(features)
        return features

    def _trains_while_moving(self) -> bool:
        # Compiled, the backward pass sees moved statistics where those of before belong (torch
        # 2.14: right without the move, off by a tenth with it, in float64 too).
        return torch.is_grad_enabled() and moves_statistics(self)

    def _features(self, images: Tensor) -> Tensor:
        maps = self.model.forward_features(self._normalise(images))
        return at_least_float32(self.model.forward_head(maps, pre_logits=True).flatten(1))

    def _embeddings(self, images: Tensor) -> Tensor:
        return self.model.embedded(self.model.forward_features(self._normalise(images)))

    def head(self, features: Tensor) -> Tensor:
        """Return logits [B, num_classes] of features [B, D]; at least float32."""
        if isinstance(self.classifier, nn.Conv2d):
            features = features[:, :, None, None]
        return self._select(at_least_float32(self.classifier(features).flatten(1)))

    def logits(self, features: Tensor, images: Tensor) -> Tensor:
        """Return logits [B, num_classes] of the features of some images."""
        return self.head(features)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, num_classes] of images [B, C, H, W] in [0, 1]."""
        return self.logits(self.features(images), images)

    def domain_logits(self, features: Tensor) -> Tensor:
        """Return logits [K + 1, B, num_classes]: of the K domain heads, then of the shared head."""
        assert self.domain_heads is not None  # noqa: S101 - a method that calls this declares it
        heads = [at_least_float32(head(features)) for head in self.domain_heads.heads]
        return torch.stack([*map(self._select, heads), self.head(features)])

    def attach(self, domain_heads: DomainHeads) -> None:
        """Add the heads of single source domains, frozen; they count among the source weights."""
        self.domain_heads = domain_heads.to(self.mean.device).requires_grad_(False).eval()
        self.update_digest()

    def update_digest(self) -> None:
        """Compute ``weights_sha256`` anew, once the source weights have changed."""
        digested = self.model
        if self.domain_heads is not None:
            digested = nn.ModuleDict({"network": self.model, "domain_heads": self.domain_heads})
        self.weights_sha256 = weights_sha256(digested)

    @property
    def preprocessing(self) -> list[Any]:
        """What decides its outputs beside weights and architecture, as plain values."""
        kept = None if self.class_subset is None else self.class_subset.tolist()
        prompts = [] if self.text is None else [self.text.digest]
        facts = [self.name, list(self.input_size), self.mean.tolist(), self.std.tolist(), kept]
        return facts + prompts

    @contextlib.contextmanager
    def in_precision(self, precision: torch.dtype) -> Iterator[None]:
        """Multiply matrices in ``precision`` for a while."""
        before, self.precision = self.precision, precision
        try:
            yield
        finally:
            self.precision = before

    def clone(self) -> Backbone:
        """Return an independent copy, also where a forward has left tensors with a graph."""
        return copy.deepcopy(self)

    def beside(self) -> Backbone:
        """Return the same model, of the same tensors, with its own passes and words about it."""
        other = copy.copy(self)
        other.passes, other.understood = Passes(), dict(self.understood)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Backbone:
        return copy_module(self, memo)

    def _autocast(self) -> contextlib.AbstractContextManager:
        # Entered for each pass alone: autocast keeps the weights that it has cast until it is
        # left, and would go on with those of before an update.
        if self.precision is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.mean.device.type, self.precision)

    def _normalise(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std

    def _select(self, logits: Tensor) -> Tensor:
        return logits if self.class_subset is None else logits.index_select(1, self.class_subset)

    def _check_protocol(self) -> None:
        """Refuse a model that has no features and head to be asked for."""
        absent = [call for call in self.calls if not hasattr(self.model, call)]
        if absent:
            raise self._refusal(f"it has no {', '.join(absent)}")
        classifier = self.model.get_classifier()
        if not self._is_head(classifier):
            raise self._refusal(f"its classifier is a {type(classifier).__name__}")

    def _is_head(self, layer: nn.Module) -> bool:
        pointwise = isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)
        return pointwise or isinstance(layer, nn.Linear)

    @torch.no_grad()
    def _probe(self) -> int:
        """Check features and head against the model's own forward; return the feature size."""
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(1, *self.input_size, generator=generator).to(self.mean.device)
        features = self.features(images)
        if features.shape[1] != _num_inputs(self.classifier):
            raise self._refusal(
                f"its features have {features.shape[1]} columns, its classifier takes "
                f"{_num_inputs(self.classifier)}",
            )
        expected = self._select(self.model(self._normalise(images)))
        logits = self._sized(self.head(features), expected)
        if not torch.allclose(logits, expected, rtol=1e-3, atol=1e-4):
            raise self._refusal("features and classifier do not give the model's own logits")
        return features.shape[1]

    def _sized(self, logits: Tensor, like: Tensor) -> Tensor:
        """Return logits of the head in the size in which the model itself gives them."""
        return logits

    def _refusal(self, reason: str) -> UserError:
        return UserError(f"backbone {self.name!r} is refused: {reason}; choose {self.wanted}")


def copy_module(module: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """Deep-copy a module, detaching what a forward left in it.

    The old ``torch.nn.utils.weight_norm`` keeps the weight it computed as a plain attribute, a
    tensor inside a graph, which ``copy.deepcopy`` refuses.
    """
    memo = {} if memo is None else memo
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    duplicate = module.__class__.__new__(module.__class__)
    memo[id(module)] = duplicate
    duplicate.__dict__.update(copy.deepcopy(module.__dict__, memo))
    return duplicate


def _checked_subset(class_subset: Sequence[int], outputs: int, name: str) -> Tensor:
    ids = list(class_subset)
    if not ids or len(set(ids)) < len(ids) or not all(0 <= index < outputs for index in ids):
        raise UserError(
            f"class_subset must hold distinct class ids from 0 to {outputs - 1}, the outputs of "
            f"backbone {name!r}; got {len(ids)} ids, {len(set(ids))} distinct"
            + (f", from {min(ids)} to {max(ids)}" if ids else "")
        )
    return torch.tensor(ids)


def _num_inputs(classifier: nn.Linear | nn.Conv2d) -> int:
    return classifier.in_features if isinstance(classifier, nn.Linear) else classifier.in_channels


def _num_outputs(classifier: nn.Linear | nn.Conv2d) -> int:
    return classifier.out_features if isinstance(classifier, nn.Linear) else classifier.out_channels


def at_least_float32(values: Tensor) -> Tensor:
    """Return a tensor of at least that precision."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
