"""Agreement with TEA's own code on 200 images of five recorded corruptions.

Its samples are drawn at random, and what it changes beside batch statistics is small: outputs are
compared, with a bound from what seeds are apart.
"""

import numpy as np
import pytest
import torch

from tests.assets import asset
from tests.recorded import recorded_config
from tta.experiment import build

BATCH, EACH = 200, 200


def batches(corruptions: int) -> tuple[list[torch.Tensor], np.ndarray]:
    """Return a batch of each of the first corruptions, and their labels."""
    with np.load(asset("reference", "cifar10c-visible.npz")) as stored:
        rows = [np.flatnonzero(stored["domains"] == number)[:EACH] for number in range(corruptions)]
        rows = np.concatenate(rows)
        images, labels = torch.from_numpy(stored["images"][rows]), stored["labels"][rows]
    scaled = images.permute(0, 3, 1, 2).float() / 255
    layout = torch.channels_last  # as the authors' code had them
    return [batch.contiguous(memory_format=layout) for batch in scaled.split(BATCH)], labels


def outputs(seed: int, images: list[torch.Tensor]) -> np.ndarray:
    experiment = build(recorded_config("tea", seed=seed))
    experiment.method.start(experiment.source)
    return torch.cat([experiment.method.step(batch) for batch in images]).numpy()


def recorded(count: int) -> np.ndarray:
    with np.load(asset("reference", "open-set", "logits.npz")) as stored:
        return stored["sub200d5__tea__s1"][:count].astype(np.float32)


def apart(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean total-variation distance of two predictions."""
    p, q = (torch.from_numpy(values).softmax(1) for values in (first, second))
    return 0.5 * (p - q).abs().sum(1).mean().item()


@pytest.mark.slow
def test_the_authors_run_is_as_near_as_another_seed():
    """Seeds are 0.0023 to 0.0030 apart; batch statistics 0.0129, and 14 predictions of 1,000."""
    images, labels = batches(5)
    expected, wrong = recorded(1000), []
    for seed in (1, 2, 3):
        found = outputs(seed, images)
        assert apart(found, expected) < 0.004
        assert (found.argmax(1) != expected.argmax(1)).sum() <= 8
        wrong.append(100 * (found.argmax(1) != labels).mean())
    assert abs(np.mean(wrong) - 35.8) < 0.5
