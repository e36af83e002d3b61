"""Whole steps as CUDA graphs: what a GPU has been told once, it repeats without the host."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

import torch
from torch import Tensor

from tta.methods.base import Method
from tta.methods.state import Stateful

WARM_STEPS = 3
"""Steps before one is captured: the first ones choose algorithms and make what stays, such as an
optimiser's moments."""


class Graph(Protocol):
    """What records a call, and repeats it on the same memory."""

    def warm(self, call: Callable[[], Tensor]) -> Tensor: ...

    def capture(self, call: Callable[[], Tensor]) -> Tensor: ...

    def replay(self) -> None: ...


class CudaGraph:
    """A ``torch.cuda.CUDAGraph`` for calls that may draw from ``generators`` on the device."""

    def __init__(self, generators: Collection[torch.Generator] = ()) -> None:
        self.graph = torch.cuda.CUDAGraph()
        self.stream = torch.cuda.Stream()
        for generator in generators:
            self.graph.register_generator_state(generator)

    def warm(self, call: Callable[[], Tensor]) -> Tensor:
        """Make a call beside the stream in use, as capturing will."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = call()
        torch.cuda.current_stream().wait_stream(self.stream)
        return result

    def capture(self, call: Callable[[], Tensor]) -> Tensor:
        """Record a call, which does nothing yet; its result is filled by every replay."""
        # Other threads, which load images into locked memory meanwhile, are none of its business.
        with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
            return call()

    def replay(self) -> None:
        """Make the recorded call."""
        self.graph.replay()


def obstacle(method: type[Method], device: torch.device) -> str | None:
    """Return why steps of a method cannot be captured on a device, or None."""
    if device.type != "cuda":
        return f"graphs are of CUDA, and this is {device.type}"
    if not method.capturable:
        return f"steps of {method.name!r} leave the host something to decide, draw or load"
    return None


class CapturedSteps:
    """Takes the steps of a method, those on whole batches by replaying a graph of one of them.

    The first :data:`WARM_STEPS` whole batches are stepped on as without. Batches of other sizes
    always are. Where the method's state has come to lie elsewhere, as after a reset, it starts
    over: a graph knows addresses alone.

    Args:
        method: started; its class says that it is ``capturable``.
        sizes: numbers of images in whole batches.
        make_graph: called with the method's generators on the device.
    """

    def __init__(
        self,
        method: Method,
        sizes: Collection[int],
        make_graph: Callable[[Collection[torch.Generator]], Graph] = CudaGraph,
    ) -> None:
        self.method, self.sizes, self.make_graph = method, frozenset(sizes), make_graph
        self.outputs, self.predicts = method.outputs, method.predicts
        self._records: dict[tuple[int, ...], _Record] = {}

    def step(self, images: Tensor) -> Tensor:
        """Return the outputs ``[B, C]`` of a step on images ``[B, 3, H, W]``."""
        if len(images) not in self.sizes:
            return self.method.step(images)
        record = self._records.get(images.shape)
        if record is None or record.is_stale(self.method):
            record = self._records[images.shape] = _Record(self.method, self.make_graph)
        return record.step(images)

    def count(self) -> None:
        """Return nothing: methods that count are not captured."""

    def reset(self) -> None:
        """Reset the method; what was warm is not: it has another optimizer's state."""
        self.method.reset()
        self._records.clear()


class _Record:
    """The steps on batches of one shape: some as they are, then one captured, then replays."""

    def __init__(self, method: Method, make_graph: Callable[..., Graph]) -> None:
        let_optimizers_be_captured(method)
        self.method, self.passes = method, method.backbone.passes
        self.graph = make_graph(_device_generators(method))
        self.steps = 0
        self.counted = 0, 0
        self.images: Tensor | None = None
        self.outputs: Tensor | None = None
        self.addresses: list[int] = []

    def is_stale(self, method: Method) -> bool:
        """Return whether what the graph changes is not what the method goes on with."""
        return self.outputs is not None and self.addresses != _addresses(method)

    def step(self, images: Tensor) -> Tensor:
        self.steps += 1
        if self.steps <= WARM_STEPS:
            return self.graph.warm(lambda: self.method.step(images))
        if self.outputs is None:
            self._capture(images)
        else:
            self.passes.forward += self.counted[0]
            self.passes.backward += self.counted[1]
        self.images.copy_(images)
        self.graph.replay()
        return self.outputs.clone()

    def _capture(self, images: Tensor) -> None:
        before = self.passes.forward, self.passes.backward
        static = self.images = images.clone()
        self.outputs = self.graph.capture(lambda: self.method.step(static))
        after = self.passes.forward, self.passes.backward
        self.counted = after[0] - before[0], after[1] - before[1]
        self.addresses = _addresses(self.method)


def let_optimizers_be_captured(method: Method) -> None:
    """Let Adam count its steps on the device; it adds a rounding to its correction of moments."""
    for optimizer in _optimizers(method):
        for group in optimizer.param_groups:
            if "capturable" in group and group["params"][0].is_cuda:
                group["capturable"] = True
        for parameter, state in optimizer.state.items():
            if isinstance(state.get("step"), Tensor) and parameter.is_cuda:
                state["step"] = state["step"].to(parameter.device)


def _optimizers(method: Method) -> list[torch.optim.Optimizer]:
    return [part for part in vars(method).values() if isinstance(part, torch.optim.Optimizer)]


def _device_generators(method: Method) -> list[torch.Generator]:
    generators = [part for part in vars(method).values() if isinstance(part, torch.Generator)]
    return [generator for generator in generators if generator.device.type == "cuda"]


def _addresses(method: Method) -> list[int]:
    """Return where the tensors lie that the method changes."""
    found: list[int] = []
    for name in method.state:
        value = getattr(method, name)
        if isinstance(value, torch.optim.Optimizer):
            value = list(value.state.values())
        elif isinstance(value, Stateful):
            value = list(value.state_dict().values())
        found += _tensors_in(value)
    return found


def _tensors_in(value: Any) -> list[int]:
    if isinstance(value, Tensor):
        return [value.data_ptr()]
    if isinstance(value, dict):
        value = list(value.values())
    return [at for item in value for at in _tensors_in(item)] if isinstance(value, list) else []
