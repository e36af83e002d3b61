"""What every registered method must do, on every kind of backbone that it supports."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from tests.fakes import (
    BACKBONES,
    NUM_CLASSES,
    attach_domain_heads,
    make_backbone,
    make_images,
    make_source,
)
from tta.foundation.errors import UserError
from tta.methods import METHODS, Need
from tta.methods.cloud import CloudOptions
from tta.methods.requirements import check_needs

# Fewer warm-up images: what is checked here does not depend on their number.
# CEMA uploads and replays at once, and thresholds let every sample pass, so that every part runs.
ALL_SELECTED = {"margin": 2.0, "redundancy_margin": 2.0}
PARAMS = {
    "adacontrast": {"queue_size": 8, "refine_after": 6, "neighbors": 2},
    "asr": {**ALL_SELECTED, "initial_share": 1.2},  # above ln C: every step ends in a reset
    "cema": {
        "exclude_unreliable": False,
        "low_margin": None,
        "redundancy_margin": 1.0,
        "upload_batch": 4,
        "replay_batch": 2,
        "replay_from": 5,
    },
    "cotta": {"views": 2, "confidence_threshold": 1.0},
    "deyo": {"margin": 2.0, "plpd_margin": -1.0},
    "eata": {**ALL_SELECTED, "fisher_samples": 4},
    "eta": ALL_SELECTED,
    "foa": {"population": 4, "prompts": 1, "source_samples": 4},
    "gtta": {"initial_confidence": 0.0},
    "memo": {"views": 3},
    "note": {"memory_size": 8, "update_interval": 4, "convert_batch_norm": True},
    "petta": {"memory_size": 8},
    "pl": {"threshold": 0.0},
    "rdumb": {**ALL_SELECTED, "reset_interval": 2},
    "rmt": {"warm_up_samples": 12},
    "rotta": {"memory_size": 8, "update_interval": 4},
    "sar": {"margin": 2.0},
    "t3a": {"support_size": 2},
    "ttaug": {"views": 3},
}
OPTIONAL = {"foa": "cmaes"}
BATCHES = [make_images(count, seed) for seed, count in enumerate((6, 1, 6, 2))]


NORM_FREE = ("group_norm", "layer_norm")


def supported() -> list[tuple[str, str]]:
    """Return every pair of method and backbone that belongs together."""
    return [
        (name, kind)
        for name in METHODS
        for kind in sorted(BACKBONES)
        if not (needs(name, Need.BATCH_NORM) and kind in NORM_FREE)
        and not (needs(name, Need.VISION_TRANSFORMER) and kind != "layer_norm")
    ]


def needs(name: str, need: Need) -> bool:
    method = METHODS[name]
    return need in method.needs(method.Params())


def make_method(name: str, kind: str):
    if name in OPTIONAL:
        reason = f"the optional package {OPTIONAL[name]} is not installed"
        pytest.importorskip(OPTIONAL[name], reason=reason)
    method = METHODS[name]
    params = method.Params(**PARAMS.get(name, {}))
    backbone = make_backbone(kind)
    if Need.DOMAIN_HEADS in method.needs(params):
        attach_domain_heads(backbone)
    made = method(backbone, params, seed=7)
    if Need.CLOUD_MODEL in method.needs(made.params):
        made.attach_cloud(make_backbone(kind), CloudOptions(latency=1.0))
    made.start(make_source())
    return made


@pytest.fixture(params=supported(), ids="-".join)
def pair(request):
    return request.param


@pytest.fixture
def method(pair):
    return make_method(*pair)


def run(method, batches) -> list[torch.Tensor]:
    return [method.step(images).clone() for images in batches]


def assert_equal_states(first, second):
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal_states(first[key], second[key])
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second)
        for pair in zip(first, second, strict=True):
            assert_equal_states(*pair)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


def test_outputs_have_one_finite_row_per_image_also_after_a_batch_of_one(method):
    for images, outputs in zip(BATCHES, run(method, BATCHES), strict=True):
        assert outputs.shape == (len(images), NUM_CLASSES)
        assert outputs.dtype == torch.float32
        assert not outputs.requires_grad
        assert torch.isfinite(outputs).all()


def test_reset_returns_bit_for_bit(method):
    before = method.state_dict()
    first = run(method, BATCHES)
    method.reset()
    assert_equal_states(before, method.state_dict())
    second = run(method, BATCHES)
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


def test_state_round_trip_continues_identically(method, pair):
    run(method, BATCHES[:2])
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    expected = run(method, BATCHES[2:])
    file.seek(0)
    other = make_method(*pair)
    other.load_state_dict(torch.load(file, weights_only=True))
    continued = run(other, BATCHES[2:])
    assert all(torch.equal(*pair) for pair in zip(expected, continued, strict=True))


def test_predict_changes_nothing(method):
    run(method, BATCHES[:1])
    before = method.state_dict()
    outputs = method.predict(BATCHES[2])
    assert outputs.shape == (len(BATCHES[2]), NUM_CLASSES)
    assert_equal_states(before, method.state_dict())


def test_equal_logits_and_nothing_to_select_stay_finite(method):
    with torch.no_grad():
        for parameter in method.backbone.classifier.parameters():
            parameter.zero_()
    for outputs in run(method, BATCHES[:2]):
        assert torch.isfinite(outputs).all()


def test_confident_logits_stay_finite(method):
    with torch.no_grad():
        method.backbone.classifier.weight.mul_(1e4)
    for outputs in run(method, BATCHES[:3]):
        assert torch.isfinite(outputs).all()


def test_dropout_and_stochastic_depth_stay_off(method):
    run(method, BATCHES[:1])
    assert not any(module.training for module in method.backbone.modules())


def test_the_global_generators_are_left_alone(method):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    run(method, BATCHES[:2])
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()


def test_images_are_not_changed(method):
    images = BATCHES[0].clone()
    method.step(images)
    assert torch.equal(images, BATCHES[0])


@pytest.mark.parametrize("name", sorted(METHODS))
def test_facts_are_declared(name):
    method = METHODS[name]
    assert method.name == name
    assert method.predicts in ("before", "after")
    assert method.outputs in ("logits", "logit_sum", "probabilities")
    assert method.__doc__
    assert method.paper or name == "source"


@pytest.mark.parametrize("kind", NORM_FREE)
@pytest.mark.parametrize("name", [name for name in METHODS if needs(name, Need.BATCH_NORM)])
def test_a_backbone_without_batch_norm_is_refused_by_name(name, kind):
    method = METHODS[name]
    with pytest.raises(UserError, match="batch-norm layers.*choose a backbone"):
        check_needs(method, method.Params(), make_backbone(kind), has_source=True)


@pytest.mark.parametrize("kind", [kind for kind in BACKBONES if kind != "layer_norm"])
@pytest.mark.parametrize("name", [name for name in METHODS if needs(name, Need.VISION_TRANSFORMER)])
def test_another_backbone_than_a_transformer_is_refused_by_name(name, kind):
    method = METHODS[name]
    with pytest.raises(UserError, match="vision transformer with a class token.*choose one"):
        check_needs(method, method.Params(), make_backbone(kind), has_source=True)
