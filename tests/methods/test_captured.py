"""Steps as graphs: what is captured and replayed, when that starts over, what never is."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch._subclasses import FakeTensorMode

from tests.fakes import make_backbone, make_images
from tta.backbones.passes import Passes
from tta.methods import METHODS
from tta.methods.captured import (
    WARM_STEPS,
    CapturedSteps,
    let_optimizers_be_captured,
    obstacle,
)
from tta.methods.state import capture, restore

CUDA = torch.device("cuda")


class FakeGraph:
    """Stands for a CUDA graph: recording changes no memory, replaying writes to the same."""

    made: list[FakeGraph]

    def __init__(self, generators):
        self.generators, self.replays = list(generators), 0
        self.made.append(self)

    def warm(self, call):
        return call()

    def capture(self, call):
        self.call, before = call, self.method.state_dict()
        self.result = torch.full_like(call(), torch.nan)
        for name, value in before.items():  # in place, as if nothing had run
            restore(getattr(self.method, name), value)
        return self.result

    def replay(self):
        self.replays += 1
        with self.method.backbone.passes.paused():  # no Python runs on a GPU
            self.result.copy_(self.call())


@pytest.fixture
def graphs(monkeypatch):
    monkeypatch.setattr(FakeGraph, "made", [], raising=False)
    return FakeGraph.made


def started(name, **params):
    kind = METHODS[name]
    backbone = make_backbone("batch_norm")
    backbone.passes = Passes()  # else copies of one network share it
    method = kind(backbone, kind.Params(**params), seed=3)
    method.start()
    FakeGraph.method = method
    return method


CAPTURABLE = [name for name in METHODS if METHODS[name].capturable]


def test_these_leave_the_host_nothing_to_decide():
    assert CAPTURABLE == [
        name
        for name in METHODS
        if name
        in ("source", "bn", "bn_alpha", "neo", "tent", "rpl", "shot_im", "core", "unmix_tns")
    ]
    assert not METHODS["sar"].capturable  # a subclass of tent, which has to say it for itself


@pytest.mark.parametrize("name", CAPTURABLE)
def test_replayed_steps_are_those_of_the_method(name, graphs):
    sizes = (6, 6, 6, 6, 2, 6, 6)
    plain = started(name)
    expected = [plain.step(make_images(size, seed)) for seed, size in enumerate(sizes)]
    method = started(name)
    steps = CapturedSteps(method, {6}, FakeGraph)
    found = [steps.step(make_images(size, seed)) for seed, size in enumerate(sizes)]
    (graph,) = graphs
    assert graph.replays == sizes.count(6) - WARM_STEPS
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert len({output.data_ptr() for output in found}) == len(found)
    assert method.backbone.passes.take() == plain.backbone.passes.take()


def test_after_a_reset_the_graph_is_made_anew(graphs):
    method = started("tent")
    steps = CapturedSteps(method, {6}, FakeGraph)
    first = [steps.step(make_images(6, seed)).clone() for seed in range(5)]
    steps.reset()
    second = [steps.step(make_images(6, seed)) for seed in range(5)]
    assert len(graphs) == 2
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_state_loaded_in_place_is_gone_on_with(graphs):
    method = started("bn")
    steps = CapturedSteps(method, {6}, FakeGraph)
    for seed in range(5):
        steps.step(make_images(6, seed))
    method.load_state_dict(capture(method.state_dict()))
    steps.step(make_images(6, 9))
    assert len(graphs) == 1


def test_adam_counts_its_steps_on_the_gpu():
    with FakeTensorMode():
        parameter = torch.nn.Parameter(torch.empty(2, device="cuda"))
        method = SimpleNamespace(optimizer=torch.optim.Adam([parameter], foreach=True))
        method.optimizer.state[parameter]["step"] = torch.zeros(())
        let_optimizers_be_captured(method)
        assert method.optimizer.param_groups[0]["capturable"]
        assert method.optimizer.state[parameter]["step"].is_cuda


def test_on_a_cpu_optimizers_stay_as_they_are(graphs):
    method = started("tent", optimizer="adam")
    CapturedSteps(method, {6}, FakeGraph).step(make_images(6))
    assert not method.optimizer.param_groups[0]["capturable"]


def test_obstacles_are_said():
    assert obstacle(METHODS["tent"], CUDA) is None
    assert obstacle(METHODS["tent"], torch.device("cpu")) == "graphs are of CUDA, and this is cpu"
    assert obstacle(METHODS["rmt"], CUDA).startswith("steps of 'rmt' leave the host something")


@pytest.mark.parametrize("before", [2, 3, 4])
def test_a_reset_while_steps_are_warming_begins_anew(graphs, before):
    method = started("tent")
    steps = CapturedSteps(method, {6}, FakeGraph)
    for _ in range(before - 1):
        steps.step(make_images(6))
    steps.reset()
    for _ in range(WARM_STEPS):
        steps.step(make_images(6))
    assert all(method.optimizer.state.values())
    assert graphs[-1].replays == 0 and len(graphs) == 2
    steps.step(make_images(6))
    assert graphs[-1].replays == 1
