"""What a method does before it is started, and when it is started twice."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision

from tests.fakes import make_backbone, make_images, make_source
from tests.test_conformance import PARAMS, assert_equal_states
from tta.foundation.errors import UserError
from tta.methods import METHODS
from tta.methods.asr import AdaptiveSelectiveReset
from tta.methods.base import SOURCE_NEEDS
from tta.methods.params import build_params
from tta.methods.tent import Tent

IMAGES = make_images(6)
CALLS = {
    "step": lambda method: method.step(IMAGES),
    "predict": lambda method: method.predict(IMAGES),
    "reset": lambda method: method.reset(),
    "state_dict": lambda method: method.state_dict(),
    "load_state_dict": lambda method: method.load_state_dict(method.state_dict()),
}
SOURCE_FREE = [name for name in METHODS if not METHODS[name].needs(METHODS[name].Params())]
NEEDY = [n for n in METHODS if METHODS[n].needs(METHODS[n].Params()) & SOURCE_NEEDS]


@pytest.mark.parametrize("call", CALLS)
def test_the_first_use_starts_a_method_that_needs_no_source(call):
    method, other = (Tent(make_backbone("batch_norm")) for _ in range(2))
    before = other.state_dict()
    CALLS[call](method)
    method.step(IMAGES)
    method.reset()
    assert_equal_states(before, method.state_dict())
    assert "step" not in vars(method)  # nothing stands between the loop and the method


def test_it_is_started_as_by_hand():
    methods = [Tent(make_backbone("batch_norm")) for _ in range(2)]
    methods[1].start()
    assert torch.equal(*(method.step(IMAGES) for method in methods))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ["rmt", "eata", "gtta"])
def test_one_that_prepares_from_source_images_is_refused_until_it_is_started(name, call):
    assert name in NEEDY
    method = METHODS[name](
        make_backbone("batch_norm"), build_params(METHODS[name].Params, PARAMS.get(name, {}), name)
    )
    with pytest.raises(UserError, match=rf"'{name}'.*call start\(source\) before {call}\(\)"):
        method.load_state_dict({}) if call == "load_state_dict" else CALLS[call](method)
    method.start(make_source())
    CALLS[call](method)


def test_a_second_start_is_refused():
    method = Tent(make_backbone("batch_norm"))
    method.step(IMAGES)
    with pytest.raises(UserError, match=r"'tent' is started already; reset\(\)"):
        method.start()


def test_a_start_that_fails_is_none():
    method = METHODS["rmt"](make_backbone("batch_norm"))
    with pytest.raises(AttributeError):
        method.start(None)
    with pytest.raises(UserError, match="prepares from source images"):
        method.step(IMAGES)


def test_a_method_inside_another_is_started_with_it():
    method = AdaptiveSelectiveReset(make_backbone("batch_norm"))
    method.step(IMAGES)
    assert "step" not in vars(method.inner)


def test_a_copy_of_an_unstarted_method_starts_itself():
    method = Tent(make_backbone("batch_norm"))
    before = [parameter.clone() for parameter in method.parameters]
    copy.deepcopy(method).step(IMAGES)
    assert "step" in vars(method)
    assert all(map(torch.equal, before, method.parameters))


@pytest.mark.parametrize("name", sorted(SOURCE_FREE))
def test_a_model_that_is_no_backbone_is_refused(name):
    with pytest.raises(UserError, match=r"given a ResNet: call tta.adapt\(model, "):
        METHODS[name](torchvision.models.resnet18())
