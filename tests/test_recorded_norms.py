"""Agreement with the authors' code of UnMix-TNS, TRIBE and PALM on parts of the recorded stream.

Of each corruption the first images, in batches of 200. UnMix-TNS draws the start of its components
once, and with their draw every output is theirs; views of TRIBE and PALM are drawn for each batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from tests.assets import asset
from tests.recorded import recorded_config
from tta.experiment import build
from tta.methods import Method

BATCH = 200
pytestmark = pytest.mark.usefixtures("one_thread")


def run(
    method: str,
    images: int,
    domains: int,
    seed: int = 1,
    before: Callable[[Method], None] = lambda method: None,
    **params,
) -> np.ndarray:
    """Return outputs on the first images of the first domains ``[images * domains, 10]``."""
    with np.load(asset("reference", "cifar10c-visible.npz")) as stored:
        of_domain = [np.flatnonzero(stored["domains"] == n)[:images] for n in range(domains)]
        levels = torch.from_numpy(stored["images"][np.concatenate(of_domain)])
    experiment = build(recorded_config(method, seed=seed, set=params))
    experiment.method.start(experiment.source)
    before(experiment.method)
    outputs = []
    for part in levels.split(BATCH):
        batch = (part.permute(0, 3, 1, 2).float() / 255).contiguous(
            memory_format=torch.channels_last  # as the authors' code had them
        )
        outputs.append(experiment.method.step(batch))
    return torch.cat(outputs).numpy()


def recorded(key: str, images: int) -> tuple[np.ndarray, dict]:
    """Return the authors' outputs on so many images, and their figures."""
    entries = json.loads(asset("reference", "open-set", "figures.json").read_text())["visible"]
    with np.load(asset("reference", "open-set", "logits.npz")) as stored:
        outputs = stored[key][:images].astype(np.float32)
    return outputs, next(entry for entry in entries if entry.get("key") == key)


def different(found: np.ndarray, expected: np.ndarray) -> int:
    """Return how many predictions differ."""
    return int((found.argmax(1) != expected.argmax(1)).sum())


def error(outputs: np.ndarray, images: int, domains: int) -> float:
    """Return the mean error over domains, in percent."""
    with np.load(asset("reference", "cifar10c-visible.npz")) as stored:
        of_domain = [np.flatnonzero(stored["domains"] == n)[:images] for n in range(domains)]
        labels = stored["labels"][np.concatenate(of_domain)]
    return 100 * float((outputs.argmax(1) != labels).mean())


class Block(nn.Module):
    """The layers of a block of a ResNet for CIFAR, in the order in which they are made."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, bias=False)


def draw_a_resnet20() -> None:
    """Draw from torch's generator what making a ResNet-20 draws: the components come after it."""
    widths = (16, 16, 16, 16, 32, 32, 32, 64, 64, 64)
    layers = [nn.Conv2d(3, 16, 3, bias=False)]
    layers += [Block(*pair) for pair in zip(widths, widths[1:], strict=False)]
    nn.Sequential(*layers, nn.Linear(64, 10))


def components_of(seed: int) -> Callable[[Method], None]:
    """Return what puts the components at the authors' start."""

    def put(method: Method) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(seed)
            draw_a_resnet20()
            for layer in method.layers:
                mean, var = layer.source_moments
                width = np.sqrt(0.5 * 16 / 15) * var.sqrt()
                layer.means.copy_(mean + width * torch.randn(layer.means.shape))

    return put


@pytest.mark.parametrize("seed", [1, 2])
def test_unmix_tns_is_the_authors_from_their_draw(seed):
    found = run("unmix_tns", 400, 2, before=components_of(seed))
    expected, _ = recorded(f"sub400__unmixtns_source__s{seed}", len(found))
    assert different(found, expected) == 0
    assert np.abs(found - expected).max() < 0.02  # float16


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_unmix_tns_stays_the_authors(seed):
    found = run("unmix_tns", 400, 15, before=components_of(seed))
    expected, figure = recorded(f"sub400__unmixtns_source__s{seed}", len(found))
    assert different(found, expected) == 0
    assert error(found, 400, 15) == pytest.approx(figure["mean"], abs=0.1)


def test_tribe_is_the_authors_but_for_the_views_it_draws():
    found = run("tribe", 200, 3)
    expected, _ = recorded("sub200__tribe__s1", len(found))
    assert np.abs(found - expected)[:BATCH].max() < 0.02  # float16; no view has played a part
    assert different(found[BATCH:], expected[BATCH:]) < 30  # the source network's: 241


@pytest.mark.slow
def test_tribe_over_three_seeds():
    outputs = [run("tribe", 200, 15, seed) for seed in (1, 2, 3)]
    _, figure = recorded("sub200__tribe__s1", 0)
    assert np.mean([error(found, 200, 15) for found in outputs]) == pytest.approx(
        figure["mean"], abs=0.5
    )


def test_palm_is_the_authors_but_for_the_views_it_draws():
    found = run("palm", 400, 1)
    expected, _ = recorded("sub400__palm__s1", len(found))
    assert np.abs(found - expected)[:BATCH].max() < 0.02  # float16; no view has played a part
    assert different(found[BATCH:], expected[BATCH:]) < 6  # batch statistics alone: 4


@pytest.mark.slow
def test_palm_over_three_seeds():
    outputs = [run("palm", 400, 15, seed) for seed in (1, 2, 3)]
    _, figure = recorded("sub400__palm__s1", 0)
    assert np.mean([error(found, 400, 15) for found in outputs]) == pytest.approx(
        figure["mean"], abs=0.5
    )
