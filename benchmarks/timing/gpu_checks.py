"""What must hold on a GPU: figures as on the CPU, graph capture, no waits."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tta.foundation.errors import UserError
from tta.methods import Method, find_method
from tta.methods.captured import CapturedSteps, obstacle

from .host_draws import host_draws
from .measure import interleave, ratio
from .subjects import Subject, subject
from .syncs import DOCUMENTED, PACKAGE, SyncCounter

Row = list[str]
WAIT = "called a synchronizing CUDA operation"
"""What the errors of ``torch.cuda.set_sync_debug_mode`` say, and no other."""
UNTRAINED = {"note": {"convert_batch_norm": True}, "vida": {"insert_adapters": True}}
"""What lets methods run whose source model would have to be trained for them."""
NEEDS_TRANSFORMER = ("dpcore", "foa", "imse", "rem", "vida")


def started(case: Subject, name: str) -> Method:
    """Return a method, by its name or ``file.py:Class``, started."""
    kind = find_method(name)
    return case.start(kind, **UNTRAINED.get(name, {}))


def agreement(name: str, nets: tuple[str, str], batch: int, device: torch.device) -> list[Row]:
    """Return how far three steps on a device are from those on the CPU, with the same draws.

    Outputs relative to the largest; the change of parameters by the first step relative to its
    length, as later ones start from different parameters.

    Args:
        name: of the method.
        nets: a convolutional network, and a vision transformer for methods that need one.
        batch: images in a step.
        device: to compare with the CPU.
    """
    net = nets[name in NEEDS_TRANSFORMER]
    places = torch.device("cpu"), device
    with host_draws():
        cases = [subject(net, batch, device=place) for place in places]
        methods = [started(case, name) for case in cases]
        before = [_parameters(method) for method in methods]
        outputs = [[methods[i].step(cases[i].images)] for i in range(2)]
        changes = [_parameters(method) - old for method, old in zip(methods, before, strict=True)]
        for i, case in enumerate(cases):
            outputs[i] += [methods[i].step(case.images.flip(0)), methods[i].step(case.images)]
    shown = [_relative(*pair, largest=True) for pair in zip(*outputs, strict=True)]
    return [[name, *(f"{value:.1e}" for value in shown), _changed(*changes)]]


def _parameters(method: Method) -> Tensor:
    """Return what the method trains, as one vector on the host."""
    found = method.state_dict().get("parameters", [])
    return torch.cat([torch.zeros(0), *(value.flatten().float().cpu() for value in found)])


def _relative(expected: Tensor, found: Tensor, largest: bool = False) -> float:
    difference, expected = found.cpu() - expected, expected.cpu()
    if largest:
        return float(difference.abs().max() / expected.abs().max())
    return float(difference.norm() / expected.norm())


def _changed(expected: Tensor, found: Tensor) -> str:
    if not expected.any():
        return "-" if not found.any() else "changes there alone"
    return f"{_relative(expected, found):.1e}"


@contextmanager
def waits_are_errors(device: torch.device) -> Iterator[None]:
    """Raise where the host would wait for the device; does nothing on a CPU."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def waits(name: str, case: Subject) -> list[Row]:
    """Return where a method's steps wait first, if they do, and whether its code says why."""
    method = started(case, name)
    method.step(case.images)  # allocations and algorithm choices of the first step
    if case.images.device.type == "cuda":
        place = first_wait(method, case.images)
    else:
        with SyncCounter() as counter:
            method.step(case.images)
        place = next(iter(counter.places), None)
    if place is None:
        return [[name, "none", "-"]]
    said = "yes" if place in DOCUMENTED.get(name, set()) else "NO"
    return [[name, f"{place[0]}, {place[1]}", said]]


def first_wait(method: Any, images: Tensor) -> tuple[str, str] | None:
    """Return file and function of the package where three steps wait first; None for nowhere.

    Raises:
        RuntimeError: a step failed of something else.
    """
    try:
        with waits_are_errors(images.device):
            for _ in range(3):
                method.step(images)
                method.count()
    except RuntimeError as error:
        if WAIT not in str(error):
            raise
        return _place(error)
    return None


def _place(error: BaseException) -> tuple[str, str]:
    """Return file and function of the package in which an error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    inner = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    if not inner:
        return "outside", "the package"
    named = [frame for frame in inner if not frame.name.startswith("<")] or inner
    return Path(named[-1].filename).relative_to(PACKAGE).as_posix(), named[-1].name


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
