"""tta.adapt around networks that this package has never seen: what they then compute."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import io
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tta
from tests.library.adapting import BATCHES, SIZE, SOURCE
from tests.own_nets import (
    NUM_CLASSES,
    CalledTwice,
    ConvolutionHead,
    Normalised,
    OwnNet,
    Squares,
    made,
)
from tests.test_conformance import PARAMS, assert_equal_states
from tta.config import RunConfig
from tta.experiment import build
from tta.foundation.errors import UserError
from tta.methods import METHODS, Need
from tta.methods.tent import Tent


def normalised_around(kind):
    return Normalised(kind())


OF_OTHER_NETWORKS = {
    Need.DOMAIN_HEADS,
    Need.VISION_TRANSFORMER,
    Need.IMAGE_TEXT,
    Need.WEIGHT_VECTORS,
}
OWN = {
    "own": (OwnNet, ()),
    "normalises inside": (normalised_around, (OwnNet,)),
    "two equal layers": (Squares, ()),
    "a layer called twice": (CalledTwice, ()),
    "a convolution": (ConvolutionHead, ()),
}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("wrapped", [False, True], ids=["", "DataParallel"])
def test_source_is_the_network_itself_to_the_bit(name, wrapped):
    network = made(OWN[name][0], *OWN[name][1])
    given = nn.DataParallel(network) if wrapped else network
    adapted = tta.adapt(given, "source", input_size=SIZE)
    for images in BATCHES:
        with torch.no_grad():
            assert torch.equal(adapted(images), network(images))
            assert torch.equal(adapted.predict(images), network(images))


def test_tent_is_the_plain_loop():
    network = made(OwnNet)
    adapted = tta.adapt(network, "tent", input_size=SIZE, lr=0.01, optimizer="sgd", nesterov=False)
    plain = copy.deepcopy(network)
    norms = [part for part in plain.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:  # statistics of the batch, and none that are kept
        norm.train()
        norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    parameters = [parameter for norm in norms for parameter in norm.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
    for images in BATCHES * 2:
        logits = plain(images)
        entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
        optimizer.zero_grad()
        entropy.backward()
        optimizer.step()
        torch.testing.assert_close(adapted(images), logits.detach(), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(adapted.predict(images), network(images))


def test_tent_is_the_commands():
    config = RunConfig("tent", domains=["fog"], num_samples=100, memory_format="contiguous")
    experiment = build(config)
    model = copy.deepcopy(experiment.backbone.model)
    adapted = tta.adapt(model, "tent")
    assert adapted.method.params == experiment.params
    experiment.method.start()
    for batch in experiment.stream.batches(0):
        assert torch.equal(adapted(batch.images), experiment.method.step(batch.images))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_methods_around_an_own_network(name):
    params = PARAMS.get(name, {})
    network = made(OwnNet)
    make = partial(
        tta.adapt, network, name, input_size=SIZE, source=SOURCE, cloud=network, batch_size=6
    )
    if name == "foa" or METHODS[name].needs(METHODS[name].Params()) & OF_OTHER_NETWORKS:
        words = (
            "a head for each|vision transformer of|one of timm's|image-text models|directions in"
        )
        with pytest.raises(UserError, match=words):
            make(**params)
        return
    adapted = make(**params)
    before = adapted.state_dict()
    first = [adapted(images) for images in BATCHES]
    assert all(o.shape == (6, NUM_CLASSES) and o.isfinite().all() for o in first)
    file = io.BytesIO()
    torch.save(adapted.state_dict(), file)
    adapted.reset()
    assert_equal_states(before, adapted.state_dict())
    assert all(map(torch.equal, [adapted(images) for images in BATCHES], first))
    file.seek(0)
    other = make(**params)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(BATCHES[0]), adapted(BATCHES[0]))


def test_a_method_may_be_a_class_or_in_a_file(tmp_path):
    class Mine(Tent):
        name = "mine"

    file = tmp_path / "mine.py"
    file.write_text("from tta.methods.tent import Tent\nclass Mine(Tent):\n    name = 'mine'\n")
    expected = tta.adapt(made(OwnNet), "tent", input_size=SIZE)(BATCHES[0])
    for method in (Mine, f"{file}:Mine"):
        assert torch.equal(tta.adapt(made(OwnNet), method, input_size=SIZE)(BATCHES[0]), expected)


def test_images_may_be_grey():
    network = made(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), *_pooled(4)))
    adapted = tta.adapt(network, "tent", mean=0.1, std=0.3, input_size=(1, 28, 28))
    images = torch.rand(4, 1, 28, 28)
    assert adapted(images).shape == (4, NUM_CLASSES)
    with pytest.raises(UserError, match=r"must be \[B, 1, H, W\]"):
        adapted(BATCHES[0])


def _pooled(width):
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, NUM_CLASSES)


def test_no_hyper_parameter_has_the_name_of_an_argument():
    taken = inspect.signature(tta.adapt).parameters.keys() - {"params"}
    for name in METHODS:
        assert not taken & {field.name for field in dataclasses.fields(METHODS[name].Params)}


def test_predictions_become_surer_on_the_images_it_adapts_to():
    adapted = tta.adapt(made(OwnNet), "shot_im", input_size=SIZE, lr=0.05)
    first = adapted(BATCHES[0])
    for _ in range(20):
        adapted(BATCHES[0])
    certain = [F.softmax(o, 1).amax(1).mean() for o in (first, adapted.predict(BATCHES[0]))]
    assert certain[1] > certain[0]
