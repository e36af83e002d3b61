"""What tta.adapt leaves as it was, and states that are given back to it."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch

import tta
from tests.library.adapting import BATCHES, SIZE
from tests.own_nets import OwnNet, Squares, made
from tests.test_conformance import assert_equal_states
from tta.foundation.errors import UserError


def test_the_callers_model_stays_as_it_is():
    network = made(OwnNet).train()
    before = copy.deepcopy(network.state_dict())
    adapted = tta.adapt(network, "tent", input_size=SIZE, lr=0.1)
    for images in BATCHES:
        adapted(images)
    assert_equal_states(dict(before), dict(network.state_dict()))
    assert network.training
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


@pytest.mark.parametrize(
    "context",
    [torch.no_grad, torch.inference_mode, partial(torch.autocast, "cpu", torch.bfloat16)],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_the_callers_context_changes_nothing(context):
    plain = tta.adapt(made(OwnNet), "tent", input_size=SIZE)
    expected = [plain(images) for images in BATCHES]
    with context():
        adapted = tta.adapt(made(OwnNet), "tent", input_size=SIZE)
        for images, outputs in zip(BATCHES, expected, strict=True):
            assert torch.equal(adapted(images * 1.0 if images.is_leaf else images), outputs)


def test_a_state_of_another_kind_is_refused_and_nothing_is_changed():
    adapted = tta.adapt(made(OwnNet), "tent", input_size=SIZE)
    adapted(BATCHES[0])
    before = adapted.state_dict()
    others = [
        tta.adapt(made(OwnNet), "shot_im", input_size=SIZE).state_dict(),
        tta.adapt(made(Squares), "tent", input_size=SIZE).state_dict(),
        {**before, "state": {**before["state"], "parameters": [torch.zeros(3)]}},
        {**before, "state": {}},
    ]
    for state in others:
        with pytest.raises(UserError, match="what the same call to tta.adapt returns"):
            adapted.load_state_dict(state)
        assert_equal_states(before, adapted.state_dict())
