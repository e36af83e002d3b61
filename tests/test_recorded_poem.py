"""Agreement with POEM's own code on 400 images of every recorded corruption.

Its predictions are those of batch statistics but for one in a thousand: outputs are compared.
"""

import numpy as np
import pytest
import torch

from tests.assets import asset
from tests.recorded import recorded_config
from tta.experiment import build

BATCH, EACH = 200, 400
pytestmark = pytest.mark.usefixtures("one_thread")


def run(corruptions: int) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs and labels of the first corruptions' images."""
    with np.load(asset("reference", "cifar10c-visible.npz")) as stored:
        rows = [np.flatnonzero(stored["domains"] == number)[:EACH] for number in range(corruptions)]
        rows = np.concatenate(rows)
        images, labels = torch.from_numpy(stored["images"][rows]), stored["labels"][rows]
    experiment = build(recorded_config("poem", set={"source_samples": 4000}))
    experiment.method.start(experiment.source)
    outputs = []
    for levels in images.split(BATCH):
        batch = (levels.permute(0, 3, 1, 2).float() / 255).contiguous(
            memory_format=torch.channels_last  # as the authors' code had them
        )
        outputs.append(experiment.method.step(batch))
    return torch.cat(outputs).numpy(), labels


def recorded(count: int) -> np.ndarray:
    with np.load(asset("reference", "open-set", "logits.npz")) as stored:
        return stored["sub400__poem_train4k__s1"][:count].astype(np.float32)


def test_the_first_batches_are_the_authors():
    outputs, _ = run(2)
    expected = recorded(len(outputs))
    assert (outputs.argmax(1) == expected.argmax(1)).all()
    np.testing.assert_allclose(outputs, expected, atol=1e-3, rtol=1e-3)  # stored in float16


@pytest.mark.slow
def test_the_whole_stream():
    outputs, labels = run(15)
    expected = recorded(len(outputs))
    assert (outputs.argmax(1) == expected.argmax(1)).all()
    np.testing.assert_allclose(outputs, expected, atol=0.02, rtol=1e-3)
    assert abs(100 * (outputs.argmax(1) != labels).mean() - 28.217) < 0.1
