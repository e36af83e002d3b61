"""``--compile`` and ``--fold`` in runs: what they are part of, what is said, steps compared."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import tta
from tests.fakes import make_backbone, make_images, make_source
from tests.small_network import small_backbone
from tta.backbones import compilation
from tta.backbones.compilation import Compilation
from tta.config import RunConfig
from tta.experiment import compiling, execution
from tta.experiment.assembly import build
from tta.experiment.execution import run
from tta.foundation.errors import UserError
from tta.methods import METHODS, Need

BASE = {"domains": ("pixelate",), "num_samples": 12, "batch_size": 5, "device": "cpu"}


@pytest.fixture
def quick(monkeypatch):
    """Compile with a backend that takes no compiler."""
    monkeypatch.setattr(compilation, "_fault", lambda device: None)
    monkeypatch.setattr(Compilation.__init__, "__defaults__", ("aot_eager",))


def experiment(**options):
    return build(RunConfig(**{**BASE, **options}))


def test_each_is_another_run_where_it_changes_figures(quick):
    variants = [{}, {"fold": True}, {"compile": "default"}, {"compile": "max-autotune"}]
    found = {experiment(method="source", **options).fingerprint() for options in variants}
    assert len(found) == 4


def test_folding_is_nothing_to_methods_that_change_batch_norm():
    plain, fold = (experiment(method="tent", fold=fold) for fold in (False, True))
    assert plain.fingerprint() == fold.fingerprint()
    assert fold.resolved()["fold"] is False


def norms(backbone):
    return sum(isinstance(module, torch.nn.BatchNorm2d) for module in backbone.modules())


@pytest.mark.parametrize("fold", [False, True])
def test_the_methods_copy_is_folded_where_asked_for_the_record_of_the_model_never(fold):
    built = experiment(method="source", fold=fold)
    assert norms(built.backbone) > 0
    assert norms(built.adapting_method.backbone) == (0 if fold else norms(built.backbone))


@pytest.mark.parametrize("method", ["source", "lame", "t3a"])
def test_folded_runs_predict_what_plain_ones_do(method, tmp_path):
    frames = []
    for fold in (True, False):
        config = RunConfig(
            **{**BASE, "num_samples": 60},
            method=method,
            fold=fold,
            output=str(tmp_path / str(fold)),
            no_cache=True,
        )
        frames.append(run(config))
    errors = [[row["error"] for row in summary["domains"]] for summary in frames]
    assert errors[0] == errors[1]


def test_a_run_warms_up_without_a_trace_and_says_that_it_is_compiled(quick, tmp_path):
    config = RunConfig(**BASE, method="tent", compile="default", output=str(tmp_path))
    summary = run(config)
    plain = run(RunConfig(**BASE, method="tent", output=str(tmp_path)))
    assert summary["compile"] == "default"
    assert summary["cost"]["compile_seconds"] > 0
    assert summary["graphs_reason"] == "graphs are of CUDA, and this is cpu"
    assert "graphs_reason" not in plain
    assert "compile_seconds" not in plain["cost"]
    assert summary["passes"] == plain["passes"]
    assert summary["mean_error"] == pytest.approx(plain["mean_error"], abs=0.1)


def test_code_is_all_compiled_before_the_stream_at_the_size_of_its_images(monkeypatch, tmp_path):
    shapes = []

    def backend(graph, inputs):
        shapes.append([tuple(given.shape[2:]) for given in inputs if given.shape[:2] == (5, 3)])
        return graph.forward

    def stepping(experiment):
        seconds = compiling.warm_up(experiment)
        shapes.append("warm")
        return seconds

    monkeypatch.setattr(compilation, "_fault", lambda device: None)
    monkeypatch.setattr(Compilation.__init__, "__defaults__", (backend,))
    monkeypatch.setattr(execution, "warm_up", stepping)
    run(RunConfig(**BASE, method="tent", compile="default", output=str(tmp_path)))
    assert shapes == [[(32, 32)], "warm"]


def test_without_a_compiler_the_run_is_the_plain_one(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(compilation, "_fault", lambda device: "there is none")
    config = RunConfig(**BASE, method="bn", compile="default", output=str(tmp_path))
    summary = run(config)
    assert "--compile: there is none; not compiled\n" in capsys.readouterr().err
    assert (summary["compile"], summary["compile_reason"]) == ("none", "there is none")
    assert summary["fingerprint"] == experiment(method="bn").fingerprint()


def test_on_a_cpu_no_graphs_of_steps(quick):
    assert compiling.capture_obstacle(experiment(method="tent")) == "not compiled"
    built = experiment(method="tent", compile="default")
    assert compiling.capture_obstacle(built) == "graphs are of CUDA, and this is cpu"
    assert compiling.captured(built) is built.method


BOUNDS = {name: 1e-4 for name in METHODS} | dict.fromkeys(
    ("rmt", "adacontrast", "petta", "cotta", "memo", "gtta"), 2e-3
)
"""Largest difference of outputs of the second step, relative to the largest output. Adam and
contrastive losses amplify the rounding of the first one."""


def stepped(kind, backbone, compiled):
    if compiled:
        backbone.compilation = Compilation("default", {6}, "aot_eager")
    names = {field.name for field in dataclasses.fields(kind.Params)}
    shorter = {"warm_up_samples": 12} if "warm_up_samples" in names else {}
    method = kind(backbone, kind.Params(**shorter), seed=7)
    method.start(make_source())
    return [method.step(make_images(6, seed)).detach().clone() for seed in range(2)]


def assert_near(name, make):
    first, second = (stepped(METHODS[name], make(), compiled) for compiled in (False, True))
    for one, other in zip(first, second, strict=True):
        assert (one - other).abs().max() <= BOUNDS[name] * one.abs().max()


PLAIN = {
    Need.CLOUD_MODEL,
    Need.DOMAIN_HEADS,
    Need.VISION_TRANSFORMER,
    Need.INSTANCE_AWARE_NORM,
    Need.WEIGHT_VECTORS,
}


@pytest.mark.parametrize("name", ["tent", "rmt"])
def test_compiled_steps_of_a_small_network_are_within_rounding(name):
    assert_near(name, small_backbone)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(METHODS))
def test_compiled_steps_are_within_rounding(name):
    kind = METHODS[name]
    if kind.needs(kind.Params()) & PLAIN:
        pytest.skip("needs a model of another kind")
    assert_near(name, lambda: make_backbone("batch_norm"))


def test_an_adapted_network_can_be_compiled_for_batches_of_one_size(quick):
    model = make_backbone("batch_norm").model
    with pytest.raises(UserError, match="pass batch_size= too"):
        tta.adapt(model, "tent", compile="default")
    with pytest.raises(UserError, match="unknown compile 'fast'"):
        tta.adapt(model, "tent", compile="fast", batch_size=6)
    outputs = []
    for mode in ("none", "default"):
        adapted = tta.adapt(model, "tent", compile=mode, batch_size=6, input_size=(3, 32, 32))
        outputs.append([adapted(make_images(size)) for size in (6, 2)])
    for one, other in zip(*outputs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
