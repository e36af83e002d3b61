"""Compiled features: one graph, figures within rounding, code shared by copies and sizes kept."""

from __future__ import annotations

import pytest
import torch

from tests.fakes import make_backbone, make_images
from tta.backbones import compilation
from tta.backbones.backbone import Backbone
from tta.backbones.compilation import Compilation, choose_compilation
from tta.foundation.errors import UserError
from tta.ops.norm.batch_norm import (
    AdaptiveBatchNorm,
    EmaBatchNorm,
    RobustBatchNorm,
    replace_batch_norm,
)
from tta.ops.norm.instance_aware import InstanceAwareBatchNorm
from tta.ops.norm.renorm import RenormBatchNorm

KINDS = {
    "batch": AdaptiveBatchNorm,
    "mixed": lambda layer: AdaptiveBatchNorm(layer, 0.3),
    "mixture": lambda layer: AdaptiveBatchNorm(layer, 0.3, True, True),
    "constant": lambda layer: AdaptiveBatchNorm(layer, 0.3, constant_moments=True),
    "running": EmaBatchNorm,
    "robust": RobustBatchNorm,
    "instance-aware": InstanceAwareBatchNorm,
    "renorm": RenormBatchNorm,
}
BOUND = 2e-5
"""Largest difference relative to the largest value: of outputs, gradients, moved statistics."""


def prepared(kind, net="batch_norm", follow=True):
    backbone = make_backbone(net)
    for layer in replace_batch_norm(backbone, KINDS[kind]):
        layer.requires_grad_(True)
        if isinstance(layer, EmaBatchNorm):
            layer.follow = follow
        if isinstance(layer, RenormBatchNorm):
            layer.statistics = "move"
    return backbone


def passed(backbone, images):
    """Return features, gradients and statistics of a forward and backward pass."""
    features = backbone.features(images)
    features.square().mean().backward()
    gradients = [p.grad for p in backbone.parameters() if p.grad is not None]
    return [features.detach(), *gradients, *backbone.buffers()]


def near(expected, found, bound=BOUND):
    return all(
        (a - b).abs().max() <= bound * a.abs().max()
        for a, b in zip(expected, found, strict=True)
        if a.is_floating_point()
    )


@pytest.mark.parametrize("net", ["batch_norm", "fused_batch_norm"])
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_passes_are_one_graph_within_rounding(kind, net):
    plain, compiled = prepared(kind, net), prepared(kind, net)
    compiled.compilation = Compilation("default", {6}, "aot_eager")
    images = make_images(6)
    expected, found = passed(plain, images), passed(compiled, images)
    assert near(expected, found)
    explained = torch._dynamo.explain(Backbone._features)(prepared(kind, net), images)
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)


class Counting:
    """A backend that counts what it is given and runs it as it is."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


def test_copies_share_code_and_other_sizes_run_as_without():
    backend, backbone = Counting(), make_backbone("batch_norm")
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


def test_code_is_forgotten_with_the_network_not_shared_by_strangers():
    backends = [Counting(), Counting()]
    for backend in backends:
        backbone = make_backbone("batch_norm")
        backbone.compilation = Compilation("default", {6}, backend)
        backbone.features(make_images(6))
    assert [backend.graphs for backend in backends] == [1, 1]


def test_paused_it_runs_as_without():
    backend, backbone = Counting(), make_backbone("batch_norm")
    backbone.compilation = Compilation("default", {6}, backend)
    with backbone.compilation.paused():
        backbone.features(make_images(6))
    assert backend.graphs == 0


def test_a_network_that_cannot_be_compiled_is_refused_in_a_line():
    backbone = make_backbone("batch_norm")
    backbone.compilation = Compilation("default", {6}, "aot_eager")
    backbone.model.forward_head = lambda maps, pre_logits: maps.mean((2, 3)) * maps.sum().item()
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


def test_code_is_kept_in_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("TTA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv(compilation.CACHE, "x")
    monkeypatch.delenv(compilation.CACHE)
    monkeypatch.setattr(compilation, "_fault", lambda device: None)
    assert choose_compilation("default", torch.device("cpu")) == ("default", None)
    assert compilation.os.environ[compilation.CACHE] == str(tmp_path / "compiled")
