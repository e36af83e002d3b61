"""What every registered method must do, on every kind of backbone that it supports."""

from __future__ import annotations

import pytest

from tests.fakes import (
    BACKBONES,
    IMAGE_TEXT,
    attach_domain_heads,
    make_backbone,
    make_source,
)
from tests.weight_files import file_for
from tta.foundation.errors import UserError
from tta.methods import METHODS, Need
from tta.methods.params import build_params
from tta.methods.requirements import check_needs
from tta.testing.checks import CHECKS, difference

# Fewer warm-up images: what is checked here does not depend on their number.
# OWTTT's alignment would throw drawn weights, whose features are far from the source's, to NaN.
# CEMA uploads and replays at once, and thresholds let every sample pass, so that every part runs.
ALL_SELECTED = {"margin": 2.0, "redundancy_margin": 2.0}


def inside(params: dict) -> dict:
    """Return hyper-parameters of the method inside a plug-in."""
    return {f"inner.{name}": value for name, value in params.items()}


PARAMS = {
    "adacontrast": {"queue_size": 8, "refine_after": 6, "neighbors": 2},
    "adaptive_smoothing": {"policy": "fitted", "fit_images": 8},
    "atlas": {"threshold": 0.0, "lr": 0.05},
    "asr": {**inside(ALL_SELECTED), "initial_share": 1.2},  # above ln C: every step ends in a reset
    "boostadapter": {"views": 3, "gate": (0.0, 3.0)},
    "buffer": {"scale": 0.1},
    "cema": {
        "exclude_unreliable": False,
        "low_margin": None,
        "redundancy_margin": 1.0,
        "upload_batch": 4,
        "replay_batch": 2,
        "replay_from": 5,
        "link_latency": 1.0,
    },
    "clipartt": {"steps": 2},
    "cliptta": {"steps": 2, "memory_slots": 2, "memory_sample": 1},  # one of two is drawn
    "cotta": {"views": 2, "confidence_threshold": 1.0},
    "ctpt": {"views": 3},
    "deyo": {"margin": 2.0, "plpd_margin": -1.0},
    "dmn": {"views": 3, "slots": 2},
    "dpcore": {"prompts": 2, "steps": 2, "source_margin": 2.0},
    "dpe": {"views": 3, "certain": 3.0},
    "eata": {**ALL_SELECTED, "fisher_samples": 4},
    "eta": ALL_SELECTED,
    "foa": {"population": 4, "prompts": 1, "source_samples": 4},
    "gtta": {"initial_confidence": 0.0},
    "imse": {"margin": 2.0, "shift_threshold": 0.001},
    "memo": {"views": 3},
    "mta": {"views": 3},
    "note": {"memory_size": 8, "update_interval": 4, "convert_batch_norm": True},
    "onzeta": {"stream_length": 15},
    "owttt": {"alignment_weight": 1e-6},
    "palm": {"margin": 2.0, "largest_score": 1e6},
    "petta": {"memory_size": 8},
    "pl": {"threshold": 0.0},
    "poem": {"warm_up_samples": 3, "source_samples": 4},
    "rdumb": {**ALL_SELECTED, "reset_interval": 2},
    "reservoir": {"source_styles": 3, "copies": 3, "styles_kept": 6, "quantile": 0.0},
    "rmt": {"warm_up_samples": 12},
    "rotta": {"memory_size": 8, "update_interval": 4},
    "sar": {"margin": 2.0},
    "sotta": {"memory_size": 8, "update_interval": 4, "confidence_threshold": 0.0},
    "stamp": {"memory_size": 8, "margin": 2.0, "agreement": False, "views": 2},
    "t3a": {"support_size": 2},
    "tda": {"gate": (0.0, 3.0)},
    "tea": {"steps": 2, "buffer_size": 9},
    "tps": {"views": 3},
    "tpt": {"views": 3},
    "tribe": {"margin": 2.0, "class_momentum": 0.1},
    "ttaug": {"views": 3},
    "unient": {"criterion": "unient_plus"},
    "vida": {"views": 2, "insert_adapters": True, "restore_rate": 0.1},
    "vte": {"views": 3, "share": 0.7},
    "watt": {"templates": ("the digit {}", "a scan of a handwritten {}"), "rounds": 2},
    "zero": {"views": 3, "share": 0.7},
}
OPTIONAL = {"foa": "cmaes"}


NORM_FREE = ("group_norm", "layer_norm")
ON_IMAGE_TEXT = ("lame", "roid", "sar", "source", "t3a", "tent")
"""Of the methods for any network, those that are checked on an image-text model too."""


def supported() -> list[tuple[str, str]]:
    """Return every pair of method and backbone that belongs together."""
    ordinary = [name for name in METHODS if not needs(name, Need.IMAGE_TEXT)]
    special = [name for name in METHODS if name in ON_IMAGE_TEXT or name not in ordinary]
    return [(name, IMAGE_TEXT) for name in special] + [
        (name, kind)
        for name in ordinary
        for kind in sorted(BACKBONES)
        if not (needs(name, Need.BATCH_NORM) and kind in NORM_FREE)
        and not (needs(name, Need.VISION_TRANSFORMER) and kind != "layer_norm")
    ]


def needs(name: str, need: Need) -> bool:
    method = METHODS[name]
    return need in method.needs(method.Params())


def kind_for(name: str) -> str:
    """Return a kind of backbone on which a method runs."""
    if needs(name, Need.IMAGE_TEXT):
        return IMAGE_TEXT
    return "layer_norm" if needs(name, Need.VISION_TRANSFORMER) else "batch_norm"


def make_method(name: str, kind: str):
    if name in OPTIONAL:
        reason = f"the optional package {OPTIONAL[name]} is not installed"
        pytest.importorskip(OPTIONAL[name], reason=reason)
    method = METHODS[name]
    params = build_params(method.Params, {**PARAMS.get(name, {}), **file_for(name, kind)}, name)
    backbone = make_backbone(kind)
    if Need.DOMAIN_HEADS in method.needs(params):
        attach_domain_heads(backbone)
    made = method(backbone, params, seed=7)
    if Need.CLOUD_MODEL in method.needs(made.params):
        made.attach_model(make_backbone(kind))
    made.start(make_source())
    return made


def assert_equal_states(first, second):
    assert difference(first, second) is None


@pytest.fixture(params=supported(), ids="-".join)
def pair(request):
    return request.param


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_method_keeps_what_is_promised(pair, check):
    check.run(lambda: make_method(*pair))


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


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("name", [name for name in METHODS if needs(name, Need.IMAGE_TEXT)])
def test_a_backbone_that_reads_no_text_is_refused_by_name(name, kind):
    method = METHODS[name]
    with pytest.raises(UserError, match="image-text models.*digits_clip, clip:"):
        check_needs(method, method.Params(), make_backbone(kind), has_source=True)


@pytest.mark.parametrize("kind", [kind for kind in BACKBONES if kind != "layer_norm"])
@pytest.mark.parametrize("name", [name for name in METHODS if needs(name, Need.VISION_TRANSFORMER)])
def test_another_backbone_than_a_transformer_is_refused_by_name(name, kind):
    method = METHODS[name]
    with pytest.raises(UserError, match="vision transformer with a class token.*choose one"):
        check_needs(method, method.Params(), make_backbone(kind), has_source=True)
