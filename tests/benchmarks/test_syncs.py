"""No method waits for the device in its step, except where its code says why."""

from __future__ import annotations

import pytest
import torch

from benchmarks.timing.subjects import subject
from benchmarks.timing.syncs import DOCUMENTED, SyncCounter, undocumented
from tests.fakes import make_images
from tests.test_conformance import needs
from tta.methods import METHODS, Need


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.cpu(),
        lambda x: x.to("cpu"),
        lambda x: x.tolist(),
        lambda x: x.detach().numpy(),
        lambda x: torch.where(x > 0),
        lambda x: x.masked_select(x > 0),
        lambda x: x.new_tensor([1, 2]),
        lambda x: torch.tensor([1, 2], device=x.device),
        lambda x: x.clone().__setitem__(x > 0, torch.ones(3)[: int((x > 0).sum())]),
    ],
)
def test_the_counter_sees_what_waits(waits):
    x = torch.tensor([1.0, -1.0, 2.0])
    with SyncCounter() as counter:
        waits(x)
    assert counter.places.total() >= 1


def test_the_counter_lets_masks_and_gathers_pass():
    x = torch.tensor([1.0, -1.0, 2.0])
    with SyncCounter() as counter:
        torch.where(x > 0, x, 0).sum() + x[torch.tensor([0, 1])].sum() + x.topk(2).values.sum()
        x.to(torch.float64)
    assert not counter.places


IMAGE_TEXT = [name for name in METHODS if needs(name, Need.IMAGE_TEXT)]
TRANSFORMERS = [name for name in METHODS if needs(name, Need.VISION_TRANSFORMER)]
NETS = dict.fromkeys(TRANSFORMERS, "digits_vit") | dict.fromkeys(IMAGE_TEXT, "digits_clip")
PARAMS = {
    "atlas": {"threshold": 0.0},
    "boostadapter": {"views": 4},
    "clipartt": {"steps": 2},
    "cliptta": {"steps": 2, "memory_sample": 1},
    "ctpt": {"views": 4},
    "cotta": {"views": 2},
    "dmn": {"views": 4},
    "dpcore": {"prompts": 1, "steps": 2},
    "dpe": {"views": 4},
    "foa": {"population": 4, "prompts": 1},
    "memo": {"views": 2},
    "mta": {"views": 4},
    "note": {"convert_batch_norm": True, "update_interval": 4},
    "onzeta": {"stream_length": 8},
    "palm": {"margin": 9.0, "largest_score": 1e6},
    "poem": {"warm_up_samples": 4},
    "rotta": {"update_interval": 4},
    "sotta": {"update_interval": 4, "confidence_threshold": 0.0},
    "stamp": {"views": 2, "margin": 2.0},
    "tea": {"steps": 2},
    "tps": {"views": 4},
    "tpt": {"views": 4},
    "tribe": {"margin": 2.0},
    "ttaug": {"views": 2},
    "vida": {"views": 2, "insert_adapters": True},
    "vte": {"views": 4},
    "watt": {"templates": ("the digit {}", "a scan of a handwritten {}"), "rounds": 2},
    "zero": {"views": 4, "augmix": True},
}


def made(name):
    if name == "foa":
        pytest.importorskip("cmaes")
    return subject(NETS.get(name, "cifar_resnet20"), 4).method(name, **PARAMS.get(name, {}))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_steps_wait_nowhere_but_where_it_is_documented(name):
    method = made(name)
    assert undocumented(method, [make_images(4, seed) for seed in range(2)]) == {}


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_what_is_documented_does_wait(name):
    method = made(name)
    with SyncCounter() as counter:
        method.step(make_images(4))
    assert set(counter.places) & DOCUMENTED[name]
