"""Every method on a device that is not the host's, with the figures of the host."""

from __future__ import annotations

import sys

import pytest
import torch

from tests.fakes import RandomImages, attach_domain_heads, make_backbone, make_images
from tests.other_device import DEVICE, Elsewhere, OtherDevice, send
from tests.test_conformance import OPTIONAL, PARAMS, kind_for
from tests.weight_files import file_for
from tta.methods import METHODS, Need
from tta.methods.params import build_params
from tta.source.source_data import SourceData

BATCHES = [make_images(count, seed) for seed, count in enumerate((6, 1, 4))]


@pytest.fixture
def elsewhere(monkeypatch):
    """Let draws for the other device be those of the host, so that figures can be compared."""
    for module in [module for name, module in sys.modules.items() if name.startswith("tta.")]:
        if hasattr(module, "generator_on"):
            monkeypatch.setattr(module, "generator_on", lambda device, generator: generator)
    with OtherDevice() as mode:
        yield mode


def started(name, kind, device):
    method = METHODS[name]
    params = build_params(method.Params, {**PARAMS.get(name, {}), **file_for(name, kind)}, name)
    backbone, cloud = make_backbone(kind), make_backbone(kind)
    if Need.DOMAIN_HEADS in method.needs(params):
        attach_domain_heads(backbone)
    if device == DEVICE:
        send(backbone), send(cloud)
    made = method(backbone, params, seed=7)
    if Need.CLOUD_MODEL in method.needs(params):
        made.attach_model(cloud)
    made.start(SourceData(RandomImages(12, ("source",)), 6, seed=3, device=device))
    return made


def outputs(method, device):
    found = [method.step(images.to(device)).clone() for images in BATCHES]
    method.count()
    found.append(method.predict(BATCHES[0].to(device)))
    state = method.state_dict()
    method.reset()
    found.append(method.step(BATCHES[0].to(device)).clone())
    method.load_state_dict(state)
    found.append(method.predict(BATCHES[0].to(device)))
    return found


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_tensor_is_where_the_model_is(name, elsewhere):
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name])
    kind = kind_for(name)
    expected = outputs(started(name, kind, torch.device("cpu")), "cpu")
    method = started(name, kind, DEVICE)
    elsewhere.unlocked.clear()
    found = outputs(method, DEVICE)
    for here, there in zip(expected, found, strict=True):
        assert isinstance(there, Elsewhere)
        assert there.device == DEVICE
        # Moments are summed in another order there.
        torch.testing.assert_close(there.held, here, rtol=1e-4, atol=1e-3)
    assert not elsewhere.copies
    assert not elsewhere.unlocked.keys() - {"methods/state.py"}  # a state that is put back


MIXES = {
    "a sum": lambda here, there: here + there,
    "an index": lambda here, there: there[torch.tensor([0, 1])],
    "a matrix": lambda here, there: there.view(1, -1) @ here.view(-1, 1),
    "in place": lambda here, there: there.add_(here),
    "a list of tensors": lambda here, there: torch.stack([here, there]),
    "to numpy": lambda here, there: there.numpy(),
    "a mask": lambda here, there: there.masked_fill(here > 0, 1.0),
}


@pytest.mark.parametrize("kind", MIXES)
def test_a_mix_of_devices_is_seen(kind):
    with OtherDevice():
        there = torch.ones(3).to(DEVICE)
        with pytest.raises(AssertionError, match="host tensor|is on cuda:1"):
            MIXES[kind](torch.ones(3), there)


def test_what_cuda_allows_passes():
    with OtherDevice() as mode:
        there = torch.arange(3.0, device=DEVICE)
        assert (there + torch.tensor(1.0)).device == DEVICE
        assert (there.cpu() + torch.ones(3)).tolist() == [1, 2, 3]
        assert torch.zeros_like(there).device == there.new_ones(2).device == DEVICE
        assert there.sum().item() == 3
        assert not mode.copies
        there.new_tensor([1.0])
        torch.tensor([1.0], device=DEVICE)
        assert mode.copies.total() == 2


def test_gradients_and_optimisers_work_elsewhere():
    with OtherDevice():
        layer = send(torch.nn.Linear(3, 2))
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
        layer(torch.ones(4, 3).to(DEVICE)).square().sum().backward()
        before = layer.weight.held.clone()
        optimizer.step()
        assert layer.weight.grad.device == DEVICE
        assert not torch.equal(before, layer.weight.held)
