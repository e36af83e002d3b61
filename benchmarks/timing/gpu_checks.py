"""What must hold on a GPU: figures as on the CPU, graph capture, no waits."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from tta.foundation.errors import UserError
from tta.methods import Method, Need, find_method
from tta.methods.captured import WARM_STEPS, CapturedSteps, obstacle

from .compiled import compiled
from .host_draws import host_draws
from .measure import interleave, ratio
from .subjects import Subject, subject
from .syncs import DOCUMENTED, Place, SyncCounter, place_of

Row = list[str]
WAIT = "called a synchronizing CUDA operation"
"""What the warnings of ``torch.cuda.set_sync_debug_mode`` say, and no other."""
UNTRAINED = {
    "note": {"convert_batch_norm": True},
    "onzeta": {"stream_length": 1000},
    "owttt": {"alignment_weight": 1e-6},  # drawn weights are far from the source's features
    "vida": {"insert_adapters": True},
    "watt": {"templates": ("the digit {}", "a scan of a handwritten {}")},
}
"""What lets methods run on small networks of drawn weights."""

FAR = 1e-4
"""What of the largest output is more than the rounding of a step."""
SHAKE = 2e-7


@dataclass(frozen=True)
class Nets:
    """A small network of each kind.

    Attributes:
        convolutional: with batch norm.
        transformer: for methods that need one.
        image_text: likewise.
    """

    convolutional: str = "cifar_resnet20"
    transformer: str = "digits_vit"
    image_text: str = "digits_clip"

    def for_method(self, name: str) -> str:
        """Return the network on which a method runs."""
        needs = _needs(name)
        if Need.IMAGE_TEXT in needs:
            return self.image_text
        return self.transformer if Need.VISION_TRANSFORMER in needs else self.convolutional

    def suits(self, name: str, net: str) -> bool:
        """Return whether a method is one for networks such as ``net``, by their names."""
        wanted = self.for_method(name)
        if "clip" in net or wanted == self.image_text:
            return "clip" in net and wanted == self.image_text
        if "vit" in net:
            return Need.BATCH_NORM not in _needs(name)
        return wanted == self.convolutional


def _needs(name: str) -> frozenset[Need]:
    kind = find_method(name)
    return kind.needs(kind.Params())


def started(case: Subject, name: str) -> Method:
    """Return a method, by its name or ``file.py:Class``, started."""
    kind = find_method(name)
    return case.start(kind, **UNTRAINED.get(name, {}))


def agreement(name: str, net: str, batch: int, device: torch.device) -> list[Row]:
    """Return how far three steps on a device are from those on the CPU, with the same draws.

    Outputs relative to the largest; the change of parameters by the first step relative to its
    length, as later ones start from different parameters. Where outputs are far apart, also how
    far they are on the CPU from those of a network whose weights are moved by rounding.

    Args:
        name: of the method.
        net: on which it runs.
        batch: images in a step.
        device: to compare with the CPU.
    """
    with host_draws():
        here, there = (_steps(name, subject(net, batch, device=place)) for place in ("cpu", device))
        apart = here.apart(there)
        shaken = "-"
        if max(apart) > FAR:
            other = _steps(name, _shaken(subject(net, batch)))
            shaken = f"{max(here.apart(other)):.1e}"
    shown = (f"{value:.1e}" for value in apart)
    return [[name, *shown, shaken, _changed(here.change, there.change)]]


@dataclass(frozen=True)
class _Steps:
    """Outputs of three steps, and the change of the parameters by the first."""

    outputs: list[Tensor]
    change: Tensor

    def apart(self, other: _Steps) -> list[float]:
        pairs = zip(self.outputs, other.outputs, strict=True)
        return [_relative(*pair, largest=True) for pair in pairs]


def _steps(name: str, case: Subject) -> _Steps:
    method = started(case, name)
    before = _parameters(method)
    outputs = [method.step(case.images).clone()]
    change = _parameters(method) - before
    for images in (case.images.flip(0), case.images):
        outputs.append(method.step(images).clone())
    return _Steps(outputs, change)


@torch.no_grad()
def _shaken(case: Subject) -> Subject:
    """Return a subject whose weights are moved by about what rounding would."""
    draws = torch.Generator().manual_seed(0)
    for weight in case.backbone.parameters():
        weight.mul_(1 + SHAKE * torch.randn(weight.shape, generator=draws))
    return case


def _parameters(method: Method) -> Tensor:
    """Return the parameters of the network that the method adapts, as one vector on the host."""
    found = method.backbone.parameters()
    return torch.cat([value.detach().flatten().float().cpu() for value in found])


def _relative(expected: Tensor, found: Tensor, largest: bool = False) -> float:
    found, expected = found.cpu(), expected.cpu()
    difference = found - expected
    if largest:
        return float(difference.abs().max() / expected.abs().max())
    return float(difference.norm() / expected.norm())


def _changed(expected: Tensor, found: Tensor) -> str:
    if not expected.any():
        return "-" if not found.any() else "changes there alone"
    return f"{_relative(expected, found):.1e}"


def waits(name: str, case: Subject) -> list[Row]:
    """Return where a method's steps wait, and which of these places its code does not explain."""
    method = started(case, name)
    method.step(case.images)  # allocations and algorithm choices of the first step
    places = waiting_places(method, case.images)
    unexplained = places - DOCUMENTED.get(name, set())
    return [[name, *(_listed(found) for found in (places, unexplained))]]


def _listed(places: set[Place]) -> str:
    return "; ".join(f"{file}, {function}" for file, function in sorted(places)) or "-"


def waiting_places(method: Any, images: Tensor) -> set[Place]:
    """Return files and functions of the package in which three steps wait for the device."""
    if images.device.type == "cuda":
        with _warned_places() as places:
            _three_steps(method, images)
        return places
    with SyncCounter() as counter:
        _three_steps(method, images)
    return set(counter.places)


def _three_steps(method: Any, images: Tensor) -> None:
    for _ in range(3):
        method.step(images)
        method.count()


@contextmanager
def _warned_places() -> Iterator[set[Place]]:
    """Yield the places in which CUDA says that the host waits."""
    places: set[Place] = set()

    def note(message: Warning | str, *rest: Any, **others: Any) -> None:
        if WAIT in str(message):
            places.add(place_of(sys._getframe(1)))

    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield places
        finally:
            torch.cuda.set_sync_debug_mode(mode)


@torch.no_grad()
def captured(method: Any, images: Tensor) -> Callable[[Tensor], Tensor]:
    """Capture a method's forward pass in a CUDA graph; return what replays it on new images."""
    static = images.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            method.predict(static)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = method.predict(static)

    def replay(batch: Tensor) -> Tensor:
        static.copy_(batch)
        graph.replay()
        return outputs.clone()

    return replay


def graph_capture(case: Subject) -> list[Row]:
    """Return how far a replayed alpha-BN forward is from the eager one, and their times.

    Raises:
        UserError: the device has no graphs.
    """
    device = case.images.device
    method = started(case, "bn_alpha")
    if device.type != "cuda":
        raise UserError("a CPU has no CUDA graphs")
    replay = captured(method, case.images)
    batch = case.images.flip(0)
    difference = float((replay(batch) - method.predict(batch)).abs().max())
    calls = {"graph": lambda: replay(batch), "eager": lambda: method.predict(batch)}
    samples = interleave(synchronised(calls, device), rounds=20, seconds=5.0)
    return [[case.title, f"{difference:.1e}", f"{ratio(samples, 'graph', 'eager'):.2f}"]]


def step_graph(name: str, case: Subject) -> list[Row]:
    """Return how far steps as a graph are from plain ones after eight, and their times.

    Raises:
        UserError: the method's steps cannot be captured, or not there.
    """
    device = case.images.device
    plain, method = started(case, name), started(case, name)
    reason = obstacle(type(method), device)
    if reason is not None:
        raise UserError(reason)
    steps = CapturedSteps(method, {len(case.images)})
    for shift in range(8):
        images = case.images.roll(shift, 0)
        expected, found = plain.step(images), steps.step(images)
    calls = {"graph": lambda: steps.step(images), "eager": lambda: plain.step(images)}
    samples = interleave(synchronised(calls, device), rounds=20, seconds=5.0)
    difference = f"{_relative(expected, found, largest=True):.1e}"
    return [[name, difference, f"{ratio(samples, 'graph', 'eager'):.2f}"]]


def compiled_steps(name: str, case: Subject) -> list[Row]:
    """Return the time of a compiled step, alone and in a graph, relative to a plain one.

    Raises:
        UserError: nothing can be compiled here, or the device is no GPU.
    """
    if case.images.device.type != "cuda":
        raise UserError("benchmarks/speed.py measures compiled steps on a CPU")
    fast = compiled(case)
    calls = {"plain": started(case, name).step, "compiled": started(fast, name).step}
    if obstacle(find_method(name), case.images.device) is None:
        calls["graph"] = CapturedSteps(started(fast, name), {len(case.images)}).step
    images = case.images
    for _ in range(WARM_STEPS + 1):
        outputs = [step(images) for step in calls.values()]
    timed = {key: lambda step=step: step(images) for key, step in calls.items()}
    samples = interleave(synchronised(timed, images.device), rounds=20, seconds=4.0)
    apart = max(_relative(outputs[0], found, largest=True) for found in outputs[1:])
    ratios = [f"{ratio(samples, key, 'plain'):.2f}" for key in list(calls)[1:]]
    milliseconds = f"{1e3 * median(samples['plain']):.1f}"
    return [[f"{name}, {case.title}", milliseconds, *(ratios + ["-"])[:2], f"{apart:.1e}"]]


def synchronised(
    calls: dict[str, Callable[[], object]], device: torch.device
) -> dict[str, Callable[[], object]]:
    """Return calls that end when the device has finished them."""

    def wait(call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return run

    return {name: wait(call) for name, call in calls.items()}
