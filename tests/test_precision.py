"""Fewer digits in forward passes: what keeps float32, and what ``auto`` picks."""

from __future__ import annotations

import io

import pytest
import torch

from tests.fakes import make_backbone, make_images, make_source
from tests.test_conformance import inside
from tta.backbones import precision
from tta.backbones.precision import choose_precision
from tta.methods import METHODS
from tta.methods.params import build_params


def started(name, dtype, kind="batch_norm", **params):
    backbone = make_backbone(kind)
    backbone.precision = dtype
    method = METHODS[name](backbone, build_params(METHODS[name].Params, params, name), seed=7)
    method.start(make_source())
    return method


HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
ADAPTING = [
    *(("tent", {}), ("sar", {"margin": 2.0}), ("core", {}), ("rmt", {"warm_up_samples": 6})),
    *(("unmix_tns", {}), ("tribe", {"margin": 2.0}), ("palm", {"margin": 9.0})),
]


@HALVES
@pytest.mark.parametrize(("name", "params"), ADAPTING, ids=[name for name, _ in ADAPTING])
def test_steps_stay_near_those_in_float32(dtype, name, params):
    methods = [started(name, kind, **params) for kind in (torch.float32, dtype)]
    for seed in range(2):
        full, half = (method.step(make_images(6, seed)) for method in methods)
        assert half.dtype == torch.float32
        assert (full - half).abs().max() < 0.1 * full.abs().max()


@HALVES
def test_only_features_lose_digits(dtype):
    backbone = make_backbone("batch_norm")
    backbone.precision = dtype
    images = make_images(4)
    features = backbone.features(images)
    assert features.dtype == torch.float32
    assert torch.equal(features, features.to(dtype).float())
    weight, bias = backbone.classifier.weight, backbone.classifier.bias
    torch.testing.assert_close(backbone.head(features), features @ weight.T + bias)


def test_a_forward_sees_the_weights_of_the_latest_update():
    method = started("shot_im", torch.bfloat16, lr=0.5)
    images = make_images(6)
    before = method.predict(images)
    with torch.no_grad():
        for parameter in method.parameters:
            if parameter.dim() == 4:
                parameter.mul_(1.5)
    assert not torch.equal(before, method.predict(images))
    first, second = method.step(images), method.step(images)
    assert not torch.equal(first, second)


def test_the_loss_scale_is_saved_and_reset_with_the_optimiser():
    method = started("tent", torch.float16)
    group = method.optimizer.param_groups[0]
    method.step(make_images(6))
    scale = float(group["loss_scale"])
    group["loss_scale"].mul_(0.5)
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    method.reset()
    assert method.optimizer.param_groups[0]["loss_scale"] == scale
    file.seek(0)
    method.load_state_dict(torch.load(file, weights_only=True))
    assert method.optimizer.param_groups[0]["loss_scale"] == scale / 2
    assert torch.isfinite(method.step(make_images(6))).all()


def test_what_is_given_is_taken():
    assert choose_precision("fp16", None, 8, torch.contiguous_format) == ("fp16", None)


@pytest.mark.parametrize(("relative", "picked"), [(0.3, "bf16"), (0.95, "fp32"), (3.0, "fp32")])
def test_auto_picks_what_is_clearly_faster_and_says_why(monkeypatch, relative, picked):
    monkeypatch.setattr(precision, "_relative_time", lambda *_: relative)
    name, reason = choose_precision("auto", None, 8, torch.contiguous_format)
    assert name == picked
    assert f"{relative:.2f} of fp32's time" in reason


def test_the_probe_measures_and_leaves_the_backbone_alone(monkeypatch):
    monkeypatch.setattr(precision, "PROBE_SECONDS", 0.0)
    backbone = make_backbone("batch_norm")
    name, _ = choose_precision("auto", backbone, 2, torch.channels_last)
    assert name in ("fp32", "bf16")
    assert backbone.precision is torch.float32


OVERFLOWING = [
    ("tent", {}),
    ("sar", {"margin": 2.0}),
    ("memo", {"views": 2, "momentum": 0.9}),
    ("adacontrast", {"queue_size": 16}),
    ("spa", {}),
    ("asr", {"inner": "roid"}),
    ("tribe", {"margin": 2.0}),
    ("palm", {"margin": 9.0, "largest_score": 1e6}),
    ("poem", {"warm_up_samples": 0}),
    ("tea", {"steps": 2}),
]


@pytest.mark.parametrize(("name", "params"), OVERFLOWING, ids=[name for name, _ in OVERFLOWING])
def test_a_gradient_that_overflows_moves_nothing_and_lowers_the_scale(name, params):
    method = started(name, torch.float16, **params)
    adapting = getattr(method, "inner", method)
    before = [parameter.detach().clone() for parameter in adapting.parameters]
    adapting.optimizer.param_groups[0]["loss_scale"].fill_(2.0**60)
    outputs = method.step(make_images(1 if name == "memo" else 6))
    assert torch.isfinite(outputs).all()
    assert all(map(torch.equal, before, adapting.parameters))
    assert float(adapting.optimizer.param_groups[0]["loss_scale"]) == 2.0**59
    for tensor in getattr(method, "squared_gradients", []):
        assert not tensor.any()


@pytest.mark.parametrize(
    ("name", "params"),
    [("adacontrast", {}), ("asr", inside({"margin": 2.0, "redundancy_margin": 2.0})), ("spa", {})],
)
def test_scaled_steps_are_near_those_in_float32(name, params):
    sgd = {"optimizer": "sgd", "lr": 0.1}  # Adam would blow up gradients near zero
    options = {**(inside(sgd) if name == "asr" else sgd), **params}
    methods = [started(name, kind, **options) for kind in (torch.float32, torch.float16)]
    adapting = [getattr(method, "inner", method) for method in methods]
    before = torch.cat([p.detach().flatten() for p in adapting[0].parameters])
    for seed in range(2):
        full, half = (method.step(make_images(6, seed)) for method in methods)
        assert (full - half).abs().max() < 0.1 * full.abs().max()
    full, half = (
        torch.cat([p.detach().flatten() for p in method.parameters]) - before for method in adapting
    )
    assert (full - half).norm() < 0.3 * full.norm()


def test_a_reset_of_asr_keeps_the_scale():
    method = started("asr", torch.float16)
    group = method.inner.optimizer.param_groups[0]
    group["loss_scale"].fill_(64.0)
    method.steps = 1
    method._reset_last_layers(1.0)
    assert float(method.inner.optimizer.param_groups[0]["loss_scale"]) == 64.0
