"""A network that adapts to every batch it is called with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tta.datasets.checks import check_batch, check_range
from tta.foundation.errors import WRONG_VALUES, UserError, message_of
from tta.methods import Method
from tta.ops.maps import enlarged


class Adapted:
    """A network that adapts to every batch it is called with; see :func:`adapt`.

    Gradients are switched on inside, whatever the caller's context is, and autocast off.

    Attributes:
        method: the started method around a copy of the network.
        understood: in words how the network was taken, by kind.
    """

    def __init__(self, method: Method, understood: Mapping[str, str]) -> None:
        self.method = method
        self.understood = dict(understood)
        self._range_unseen = True

    def __call__(self, images: Tensor) -> Tensor:
        """Adapt to a batch and return the outputs of the same batch.

        The values of the first batch are looked at, which waits for the device once.

        Args:
            images: float32 ``[B, C, H, W]`` in [0, 1], on the model's device.

        Returns:
            Outputs ``[B, num_classes]``: logits, or what ``method.outputs`` says, from before or
            after the update as ``method.predicts`` says; without a graph. Of a network that
            segments ``[B, num_classes, H, W]``, in the size of the images.

        Raises:
            UserError: images of another type, shape, device or range.
        """
        self._check(images)
        with own_context(self.device):
            return self._sized(self.method.step(_tracked(images)), images)

    def predict(self, images: Tensor) -> Tensor:
        """Return outputs of the latest adapted network, without adapting.

        Raises:
            UserError: as when called.
        """
        self._check(images)
        with own_context(self.device), torch.no_grad():
            return self._sized(self.method.predict(_tracked(images)), images)

    def _sized(self, outputs: Tensor, images: Tensor) -> Tensor:
        outputs, backbone = outputs.detach().clone(), self.method.backbone
        if not backbone.dense:
            return outputs
        return enlarged(outputs, tuple(images.shape[-2:]), backbone.align_corners)

    def reset(self) -> None:
        """Return bit for bit to the state before the first batch."""
        with own_context(self.device):
            self.method.reset()

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of all that batches change, which ``torch.save`` takes.

        What was computed from source images is not in it: the same call to :func:`adapt` does
        that again.
        """
        return {**self._identity(), "state": self.method.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state_dict` of the same method and source weights.

        Raises:
            UserError: it is of others; nothing is changed then.
        """
        for key, value in self._identity().items():
            if state.get(key) != value:
                raise UserError(
                    f"this state is of {key} {state.get(key)!r}, and not of {value!r}: load it "
                    "into what the same call to tta.adapt returns"
                )
        before = self.method.state_dict()
        with own_context(self.device):
            try:
                _check_shapes(self.method, state["state"])
                self.method.load_state_dict(state["state"])
            except WRONG_VALUES as error:
                self.method.load_state_dict(before)
                raise UserError(
                    f"this state does not fit ({message_of(error)}); load it into what the same "
                    "call to tta.adapt returns"
                ) from error

    def _identity(self) -> dict[str, str]:
        """Return what a state must be of: method, weights, and classes where they are words."""
        backbone = self.method.backbone
        prompts = {} if backbone.text is None else {"prompts": backbone.text.digest}
        return {"method": self.method.name, "weights": backbone.weights_sha256, **prompts}

    def eval(self) -> Adapted:
        """Return itself: dropout is always off, and only calling it adapts."""
        return self

    @property
    def device(self) -> torch.device:
        """Where images are expected."""
        return self.method.backbone.mean.device

    def __repr__(self) -> str:
        notes = "".join(f"\n  {name}: {text}" for name, text in self.understood.items())
        return f"Adapted({self.method.name}, {self.method.params},{notes}\n)"

    def _check(self, images: Tensor) -> None:
        check_batch(images, self.method.backbone.input_size[0], self.device)
        if self._range_unseen:
            check_range(images)
            self._range_unseen = False


def _check_shapes(method: Method, state: Mapping[str, Any]) -> None:
    """Refuse a list of parameters that an optimiser would not go on with."""
    for name in method.state:
        own, given = getattr(method, name), state[name]
        parameters = isinstance(own, list) and own and isinstance(own[0], nn.Parameter)
        if parameters and [value.shape for value in own] != [value.shape for value in given]:
            raise ValueError(f"its {name} have other shapes")


def _tracked(images: Tensor) -> Tensor:
    """Return images that autograd can keep: those of inference mode it cannot."""
    return images.clone() if images.is_inference() else images


@contextlib.contextmanager
def own_context(device: torch.device) -> Iterator[None]:
    """Switch gradients on, and autocast off, whatever the caller's context is."""
    # Autocast would keep the weights it has cast until the caller leaves it, updates or not.
    narrowing: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if torch.amp.is_autocast_available(device.type):
        narrowing = torch.autocast(device.type, enabled=False)
    with torch.inference_mode(False), torch.enable_grad(), narrowing:
        yield
