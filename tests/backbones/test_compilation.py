"""Compiled features: one graph, figures within rounding, code shared by copies and sizes kept."""

from __future__ import annotations

import tempfile

import pytest
import torch
from torch import nn

from tests.fakes import make_backbone, make_images
from tests.small_network import small_backbone
from tta.backbones import compilation, wrap_model
from tta.backbones.backbone import Backbone
from tta.backbones.compilation import Compilation, choose_compilation
from tta.foundation.errors import UserError
from tta.ops.norm.balanced import BalancedBatchNorm, members_of
from tta.ops.norm.batch_norm import (
    AdaptiveBatchNorm,
    EmaBatchNorm,
    RobustBatchNorm,
    replace_batch_norm,
)
from tta.ops.norm.instance_aware import InstanceAwareBatchNorm
from tta.ops.norm.renorm import RenormBatchNorm
from tta.ops.norm.unmixed import UnmixedBatchNorm, Unmixing


def noise(layer):
    return torch.randn(4, layer.num_features, generator=torch.Generator().manual_seed(0))


KINDS = {
    "batch": AdaptiveBatchNorm,
    "mixed": lambda layer: AdaptiveBatchNorm(layer, 0.3),
    "mixture": lambda layer: AdaptiveBatchNorm(layer, 0.3, True, True),
    "constant": lambda layer: AdaptiveBatchNorm(layer, 0.3, constant_moments=True),
    "running": EmaBatchNorm,
    "robust": RobustBatchNorm,
    "instance-aware": InstanceAwareBatchNorm,
    "renorm": RenormBatchNorm,
    "balanced": lambda layer: BalancedBatchNorm(layer, 4, 0.3, 0.2),
    "unmixed": lambda layer: UnmixedBatchNorm(layer, noise(layer), Unmixing()),
}
BOUND = 2e-5
"""Largest difference relative to the largest value: of outputs, gradients, moved statistics."""


MOVING = ["running", "robust", "instance-aware", "renorm", "balanced", "unmixed"]
NETS = [
    "small",
    pytest.param("batch_norm", marks=pytest.mark.slow),
    pytest.param("fused_batch_norm", marks=pytest.mark.slow),
]


def network(name):
    return small_backbone() if name == "small" else make_backbone(name)


def prepared(kind, net="small", moving=False):
    backbone = network(net)
    for layer in replace_batch_norm(backbone, KINDS[kind]):
        layer.requires_grad_(True)
        if isinstance(layer, EmaBatchNorm):
            layer.follow = moving
        if isinstance(layer, BalancedBatchNorm) and moving:
            layer.members = members_of(torch.arange(6) % 3, torch.ones(6).bool(), 4)
        if isinstance(layer, RenormBatchNorm):
            layer.statistics = "move" if moving else "use"
    return backbone


def compiled(backbone, backend="aot_eager"):
    backbone.compilation = Compilation("default", {6}, backend)
    return backbone


def passed(backbone, images):
    """Return features, gradients and statistics of a forward and, with gradients, backward pass."""
    features = backbone.features(images)
    if features.requires_grad:
        features.square().mean().backward()
    gradients = [p.grad for p in backbone.parameters() if p.grad is not None]
    return [features.detach(), *gradients, *backbone.buffers()]


def near(expected, found, bound=BOUND):
    return all(
        (a - b).abs().max() <= bound * a.abs().max()
        for a, b in zip(expected, found, strict=True)
        if a.is_floating_point()
    )


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_gradients_are_within_rounding(kind, net):
    images = make_images(6)
    expected = passed(prepared(kind, net), images)
    found = passed(compiled(prepared(kind, net)), images)
    assert len(expected) > 1 + len(list(network(net).buffers()))
    assert near(expected, found)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("kind", MOVING)
def test_compiled_passes_without_gradients_move_statistics(kind, net):
    images = make_images(6)
    with torch.no_grad():
        expected = passed(prepared(kind, net, moving=True), images)
        found = passed(compiled(prepared(kind, net, moving=True)), images)
    assert not near(expected[1:], list(prepared(kind, net).buffers()))
    assert near(expected, found)


@pytest.mark.slow
@pytest.mark.parametrize("net", ["batch_norm", "fused_batch_norm"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_is_one_graph(kind, net):
    explained = torch._dynamo.explain(Backbone._features)(prepared(kind, net), make_images(6))
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)


@pytest.mark.slow
def test_inductor_writes_code_within_rounding():
    images = make_images(6)
    expected = passed(prepared("mixed", "batch_norm"), images)
    assert near(expected, passed(compiled(prepared("mixed", "batch_norm"), "inductor"), images))


class Counting:
    """A backend that counts what it is given and runs it as it is."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


def test_copies_share_code_and_other_sizes_run_as_without():
    backend, backbone = Counting(), network("small")
    backbone.compilation = Compilation("default", {6}, backend)
    keys = list(backbone.state_dict())
    teacher = backbone.clone()
    assert list(teacher.state_dict()) == keys
    for size in (6, 5, 6, 1, 6):
        for model in (backbone, teacher):
            model.features(make_images(size))
    assert backend.graphs == 1
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(1.1)
    plain = teacher.clone()
    plain.compilation = None
    assert near([plain(make_images(6))], [teacher(make_images(6))])
    assert backend.graphs == 1


@pytest.mark.parametrize("kind", MOVING)
def test_where_statistics_move_in_a_pass_with_gradients_nothing_is_compiled(kind):
    backend, images = Counting(), make_images(6)
    expected = passed(prepared(kind, moving=True), images)
    backbone = compiled(prepared(kind, moving=True), backend)
    found = passed(backbone, images)
    assert backend.graphs == 0
    assert all(map(torch.equal, expected, found))
    with torch.no_grad():
        backbone.features(images)
    assert backend.graphs == 1


def test_code_is_forgotten_with_the_network_not_shared_by_strangers():
    backends = [Counting(), Counting()]
    for backend in backends:
        backbone = compiled(network("small"), backend)
        backbone.features(make_images(6))
    assert [backend.graphs for backend in backends] == [1, 1]


def test_paused_it_runs_as_without():
    backend, backbone = Counting(), network("small")
    backbone.compilation = Compilation("default", {6}, backend)
    with backbone.compilation.paused():
        backbone.features(make_images(6))
    assert backend.graphs == 0


def test_a_network_that_cannot_be_compiled_is_refused_in_a_line():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )
    backbone = compiled(wrap_model(model.eval(), input_size=(3, 32, 32)))  # by hooks in each pass
    with pytest.raises(UserError, match=r"^backbone '.*' cannot be compiled \(.*\): leave --comp"):
        backbone.features(make_images(6))


def test_without_a_compiler_nothing_is_compiled_and_a_line_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv(compilation.CACHE, str(tmp_path))
    mode, reason = choose_compilation("default", torch.device("cpu"))
    assert (mode, reason) == ("none", "there is no C++ compiler here (g++)")
    monkeypatch.setattr(compilation.shutil, "which", lambda name: name)

    def failing(*_, **__):
        raise RuntimeError("no headers\nsecond line")

    monkeypatch.setattr(torch, "compile", failing)
    reason = choose_compilation("default", torch.device("cpu"))[1]
    assert reason == "torch.compile does not work here (no headers)"
    assert choose_compilation("none", torch.device("cpu")) == ("none", None)


@pytest.mark.parametrize("named", [None, "torch's", "mine"])
def test_code_is_kept_in_the_cache_folder_or_where_a_user_says(named, monkeypatch, tmp_path):
    monkeypatch.setenv("TTA_CACHE_DIR", str(tmp_path))
    folders = {"torch's": f"{tempfile.gettempdir()}/torchinductor_me"}  # torch sets it on import
    monkeypatch.setenv(compilation.CACHE, folders.get(named, "mine"))
    if named is None:
        monkeypatch.delenv(compilation.CACHE)
    monkeypatch.setattr(compilation, "_fault", lambda device: None)
    assert choose_compilation("default", torch.device("cpu")) == ("default", None)
    kept = "mine" if named == "mine" else str(tmp_path / "compiled")
    assert compilation.os.environ[compilation.CACHE] == kept
