"""The base class of every adaptation method.

A method sees images and nothing else of the test stream. It adapts in :meth:`Method.step` and
returns its outputs for that batch. What it changes is named in :attr:`Method.state`; resetting,
saving and loading follow from those names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from tta.backbones.backbone import Backbone
from tta.foundation.errors import UserError
from tta.methods.dense import Dense
from tta.methods.params import OptimizerParams
from tta.methods.state import capture, park, restore, unpark
from tta.ops.loss_scaling import scale_losses, scaled, step_unscaled
from tta.tasks.known_scores import energy

if TYPE_CHECKING:
    from tta.foundation.cache import Preparation
    from tta.source.source_data import SourceData


class Need(str, Enum):
    """What a method cannot run without; checked before the stream starts."""

    SOURCE_AT_PREPARE = "source_at_prepare"
    SOURCE_AT_STEP = "source_at_step"
    SOURCE_LABELS = "source_labels"
    BATCH_NORM = "batch_norm"
    INSTANCE_AWARE_NORM = "instance_aware_norm"
    NORM_AFFINE = "norm_affine"
    CLOUD_MODEL = "cloud_model"
    DOMAIN_HEADS = "domain_heads"
    VISION_TRANSFORMER = "vision_transformer"
    ADAPTERS = "adapters"
    """A vision transformer that was trained with ViDA's adapters."""
    IMAGE_TEXT = "image_text"
    """An image-text model: unit features, and a head of scaled text embeddings."""
    TEXT_ENCODER = "text_encoder"
    """Such a model whose text tower takes embedded tokens, for soft prompts."""
    WEIGHT_VECTORS = "weight_vectors"
    """A file of directions in weight space, which a hyper-parameter names."""
    STREAM_LENGTH = "stream_length"
    """How many images will come: :attr:`Method.stream_length`."""


SOURCE_NEEDS = frozenset({Need.SOURCE_AT_PREPARE, Need.SOURCE_AT_STEP, Need.SOURCE_LABELS})
_AFTER_START = ("step", "predict", "reset", "state_dict", "load_state_dict")


class Method:
    """Adapts a backbone online, one batch after another.

    A subclass sets the class attributes, and overrides :meth:`configure` (layers, optimiser),
    :meth:`prepare` (what it computes from source images) and :meth:`step`.

    A method is started once, before anything else: by :meth:`start`, or by its first use where it
    needs no source images.

    Args:
        backbone: in evaluation mode with frozen parameters; the method owns and changes it.
        params: hyper-parameters; the defaults of ``Params`` where None.
        seed: of the method's own random generator.

    Raises:
        UserError: ``backbone`` is another kind of module.
    """

    name: ClassVar[str]
    title: ClassVar[str] = ""
    """What tables call the method, where that is not its name."""
    paper: ClassVar[str] = ""
    predicts: ClassVar[str] = "before"
    """Whether outputs come from ``before`` or ``after`` the update on the same batch."""
    outputs: ClassVar[str] = "logits"
    """``logits``, ``logit_sum`` (of two models) or ``probabilities``."""
    state: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes that change after :meth:`prepare`."""
    prepared: ClassVar[tuple[str, ...]] = ()
    """Names of the tensors that :meth:`prepare` makes and nothing changes afterwards."""
    dense: ClassVar[Dense | None] = None
    """On a class that segments too, see :mod:`tta.methods.dense`; a subclass says it again."""
    counters: ClassVar[tuple[str, ...]] = ()
    """Names of what :meth:`count` counts, such as ``uploads``: columns of the records."""
    second_model: ClassVar[str] = "second model"
    """What messages call the model of :meth:`attach_model`, for a method that needs one."""
    rejection: ClassVar[str] = ""
    """``queue`` where :meth:`score` is a cosine, by which OWTTT's rule rejects unknown images."""
    capturable: ClassVar[bool] = False
    """Whether a step leaves the host nothing to decide, draw or load, and binds no attribute to
    another tensor, so that a GPU can repeat it alone. Not inherited: a class says it for itself."""
    resets_often: ClassVar[bool] = False
    """Whether steps go back to the initial state so often that it is kept on the device."""
    digests: Mapping[str, str] = MappingProxyType({})
    """SHA-256 of the files that hyper-parameters name, by hyper-parameter: a run is another one
    where a file holds something else, and the same where it lies elsewhere."""
    decoded: Callable[[], Sequence[Tensor]] | None = None
    """Returns the images of the batch at hand as their data set has them, before they are resized:
    uint8 ``[3, H, W]`` of any size, in host memory; None: nobody has them."""
    position: Callable[[], int] | None = None
    """Says where in the stream the batch at hand begins, by which views are drawn; None: where the
    caller does not count, the method does."""
    usual_batch: int | None = None
    """Images in a full batch of the stream, 1 where they come one by one; None: not known."""
    stream_length: int | None = None
    """Images of the stream, up to a reset if there are any; None: not known."""

    @dataclass(frozen=True)
    class Params:
        """Hyper-parameters; none by default."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "capturable" not in vars(cls):
            cls.capturable = False

    def __init__(self, backbone: Backbone, params: Any = None, *, seed: int = 0) -> None:
        _check_backbone(backbone, self.name)
        self.backbone = backbone
        self.params = self.Params() if params is None else params
        self.generator = torch.Generator().manual_seed(seed)
        self.configure()
        self._initial: dict[str, Any] = {}
        self._await_start()

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        """Return what the method needs with these hyper-parameters."""
        return frozenset()

    @classmethod
    def keeps_network(cls, params: Any) -> bool:
        """Return whether weights and statistics below the classifier stay the source's.

        Batch norm may then be folded into convolutions, and no gradient flows there.
        """
        return False

    def configure(self) -> None:
        """Set up layers, trainable parameters and the optimiser."""

    def attach_model(self, model: Backbone) -> None:
        """Take a further model, to own and change.

        Called before :meth:`start` where :meth:`needs` names one: ``CLOUD_MODEL``.
        """
        raise NotImplementedError

    def attach_source(self, source: SourceData | None) -> None:
        """Open what :meth:`step` will read from the source, without computing anything."""

    def prepare(self, source: SourceData | None) -> None:
        """Compute once, from source images, what :meth:`step` will use.

        ``source`` is None for a method that :meth:`needs` none.
        """

    def start(self, source: SourceData | None = None, cache: Preparation | None = None) -> None:
        """Prepare, and remember the state that :meth:`reset` returns to.

        With a ``cache`` entry that holds the result, it is taken instead of computed.

        Raises:
            UserError: the method was started before.
        """
        if not self._awaits_start:
            raise UserError(
                f"method {self.name!r} is started already; reset() takes it back to its start"
            )
        self._mark_started()
        try:
            self._prepare(source, cache)
        except BaseException:
            self._await_start()
            raise

    def _prepare(self, source: SourceData | None, cache: Preparation | None) -> None:
        self._scale_losses()
        self.attach_source(source)
        stored = cache.load() if cache else None
        if stored is None:
            self.prepare(source)
        else:
            self.take_prepared(stored["prepared"])
            self.load_state_dict(stored["state"])
        self._start_from(self._captured(parked=not self.resets_often))
        if cache and stored is None:
            cache.save(self.preparation())

    def _await_start(self) -> None:
        # On the instance, in front of the methods of the class: once started, batches pay nothing.
        for name in _AFTER_START:
            setattr(self, name, partial(self._start_and, name))

    @property
    def _awaits_start(self) -> bool:
        return "step" in vars(self)

    def _mark_started(self) -> None:
        for name in _AFTER_START:
            vars(self).pop(name, None)
        for part in self._inner_methods():
            part._mark_started()

    def _inner_methods(self) -> list[Method]:
        return [value for value in vars(self).values() if isinstance(value, Method)]

    def _start_and(self, name: str, *arguments: Any) -> Any:
        """Start a method that needs no source images, and do what was called."""
        if self._awaits_start and type(self).needs(self.params) & SOURCE_NEEDS:
            raise UserError(
                f"method {self.name!r} prepares from source images: call start(source) before "
                f"{name}()"
            )
        if self._awaits_start:
            self.start()
        return getattr(self, name)(*arguments)

    def _scale_losses(self) -> None:
        if self.backbone.precision is torch.float16:
            for value in vars(self).values():
                if isinstance(value, torch.optim.Optimizer):
                    scale_losses(value)
            for part in self._inner_methods():
                part._scale_losses()

    def preparation(self) -> dict[str, Any]:
        """Return what :meth:`start` has made: the same entry as in a cache."""
        return {"prepared": self.prepared_tensors(), "state": park(self._initial)}

    def prepared_tensors(self) -> dict[str, Any]:
        """Return what :attr:`prepared` names, and that of a method inside."""
        return {name: getattr(self, name) for name in self.prepared}

    def take_prepared(self, tensors: dict[str, Any]) -> None:
        """Take :meth:`prepared_tensors` of an equal method, from any device."""
        for name, value in tensors.items():
            setattr(self, name, value.to(next(self.backbone.parameters()).device))

    def _start_from(self, initial: dict[str, Any]) -> None:
        """Take a captured state for the one that :meth:`reset` returns to."""
        self._initial = initial

    def step(self, images: Tensor) -> Tensor:
        """Adapt to ``images`` ``[B, 3, H, W]`` in [0, 1] and return outputs ``[B, C]``.

        Right for a single image, a short batch, and a batch from which nothing is selected.
        """
        raise NotImplementedError

    def count(self) -> Tensor | None:
        """Return what the latest step cost, one row per counter and one column per image.

        ``[len(counters), B]`` on the device; None for a method without counters. A cost of the
        whole batch goes to its last image.
        """
        return None

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Return outputs ``[B, C]`` of the latest adapted model, without adapting."""
        return self.backbone(images)

    @property
    def has_own_score(self) -> bool:
        """Whether :meth:`score` is another one than the energy of the outputs."""
        return type(self).score is not Method.score

    def score(self, outputs: Tensor) -> Tensor:
        """Return how much each image looks known ``[B]``, higher is more, from its outputs."""
        return energy(outputs, self.outputs)

    def reset(self) -> None:
        """Return bit for bit to the state after :meth:`start`, which waits in host memory."""
        self.load_state_dict(self._initial)

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that changes: tensors and plain values only."""
        return self._captured()

    def _captured(self, parked: bool = False) -> dict[str, Any]:
        names = ("generator", *self.state)
        return {name: capture(getattr(self, name), parked) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`, or one that was parked in host memory."""
        device = next(self.backbone.parameters()).device
        for name in ("generator", *self.state):
            saved = unpark(state[name], device)
            setattr(self, name, restore(getattr(self, name), saved))


def _check_backbone(backbone: Any, method: str) -> None:
    if not isinstance(backbone, Backbone):
        raise UserError(
            f"method {method!r} adapts a tta.backbones.Backbone, and was given a "
            f"{type(backbone).__name__}: call tta.adapt(model, {method!r}), which takes any "
            "nn.Module, or tta.backbones.wrap_model(model)"
        )


def trainable(parameters: list[nn.Parameter]) -> list[nn.Parameter]:
    """Switch gradients on for ``parameters`` and return them."""
    for parameter in parameters:
        parameter.requires_grad_(True)
    return parameters


_ADAMS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def make_optimizer(
    parameters: list[nn.Parameter] | list[dict[str, Any]],
    params: OptimizerParams,
    eps: float = 1e-8,
) -> torch.optim.Optimizer:
    """Return the optimiser that ``params`` describes over ``parameters``, or groups of them.

    Args:
        parameters: what is trained.
        params: its settings.
        eps: added to the root of Adam's second moments.
    """
    if params.optimizer in _ADAMS:
        betas = (params.momentum, 0.999)
        return _ADAMS[params.optimizer](
            parameters, params.lr, betas, eps, weight_decay=params.weight_decay, foreach=True
        )
    return torch.optim.SGD(
        parameters,
        params.lr,
        params.momentum,
        weight_decay=params.weight_decay,
        nesterov=params.nesterov and params.momentum > 0,
        foreach=True,
    )


@torch.no_grad()
def forget_steps(optimizer: torch.optim.Optimizer) -> None:
    """Let SGD or Adam go on as from its first step: its moments are zero, parameters stay."""
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                value.zero_()


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take one step down the gradient of ``loss`` (a scalar)."""
    optimizer.zero_grad(set_to_none=True)
    backward(optimizer, loss)
    update(optimizer)


def backward(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Add the gradient of ``loss``, scaled where float16 needs it, to the parameters' ``grad``."""
    scaled(optimizer, loss).backward()


def update(*optimizers: torch.optim.Optimizer) -> None:
    """Take a step down the gradients that :func:`backward` with the first one has added up."""
    step_unscaled(*optimizers)
