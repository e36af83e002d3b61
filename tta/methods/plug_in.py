"""Methods around another method: what they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tta.backbones.backbone import Backbone
from tta.methods import find_method
from tta.methods.base import Method, Need
from tta.methods.params import INNER, inner_params, param
from tta.source.source_data import SourceData

_FROM_THE_STREAM = ("decoded", "position", "usual_batch", "stream_length")


@dataclass(frozen=True)
class PlugInParams:
    """Which method is inside, and its hyper-parameters: its own defaults where none are given."""

    inner: str = param("tent", "the method inside: a name, or FILE.py:CLASS")
    inner_params: object = inner_params()

    @staticmethod
    def find_inner(name: str) -> type[Method]:
        """Return the class that ``inner`` names; see :func:`tta.methods.find_method`."""
        return find_method(name)


class PlugIn(Method):
    """Wraps any method, which it names: ``--method NAME --set inner=tent --set inner.lr=0.01``.

    The method inside is made of the same backbone and draws from the same generator. It is part of
    the state, prepares itself, and needs what it always needs. A preset's values for it hold.

    A subclass overrides :meth:`make_inner` to change what it is made of, and :meth:`step`.
    """

    state = ("inner",)
    Params = PlugInParams

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        kind = find_method(params.inner)
        return kind.needs(params.inner_params or kind.Params())

    def configure(self) -> None:
        self.inner = self.make_inner(find_method(self.params.inner))
        self.inner.generator = self.generator
        self.predicts, self.outputs = self.inner.predicts, self.inner.outputs
        self.counters, self.rejection = self.inner.counters, self.inner.rejection
        self.digests = {f"{INNER}.{name}": of for name, of in self.inner.digests.items()}

    def make_inner(self, kind: type[Method]) -> Method:
        """Return the method inside, an object of ``kind``."""
        return kind(self.backbone, self.params.inner_params, seed=self.generator.initial_seed())

    def attach_model(self, model: Backbone) -> None:
        self.inner.attach_model(model)

    def attach_source(self, source: SourceData | None) -> None:
        self.hand_down()
        self.inner.attach_source(source)

    def prepare(self, source: SourceData | None) -> None:
        self.inner.prepare(source)

    def _start_from(self, initial: dict[str, Any]) -> None:
        super()._start_from(initial)
        self.inner._start_from(initial["inner"])

    def prepared_tensors(self) -> dict[str, Any]:
        return {**super().prepared_tensors(), "inner": self.inner.prepared_tensors()}

    def take_prepared(self, tensors: dict[str, Any]) -> None:
        self.inner.take_prepared(tensors["inner"])
        super().take_prepared({name: of for name, of in tensors.items() if name != "inner"})

    def hand_down(self) -> None:
        """Give the method inside what the stream has told."""
        for name in _FROM_THE_STREAM:
            setattr(self.inner, name, getattr(self, name))

    def step(self, images: Tensor) -> Tensor:
        self.hand_down()
        return self.inner.step(images)

    def predict(self, images: Tensor) -> Tensor:
        return self.inner.predict(images)

    def count(self) -> Tensor | None:
        return self.inner.count()

    @property
    def has_own_score(self) -> bool:
        return self.inner.has_own_score

    def score(self, outputs: Tensor) -> Tensor:
        return self.inner.score(outputs)


def chain(method: Method) -> list[Method]:
    """Return a method, the one inside it, and so on."""
    inner = getattr(method, INNER, None)
    return [method, *chain(inner)] if isinstance(inner, Method) else [method]
