"""A stream with unknown images against the authors' code, score by score."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from tests.assets import asset
from tests.recorded import KeepOutputs, recorded_config
from tta.experiment import build
from tta.experiment.figures import figures
from tta.experiment.observing.recorder import Recorder
from tta.streams.loop import evaluate
from tta.streams.stream import Batch
from tta.tasks.known_scores import KNOWN_SCORES
from tta.tasks.queue_rejection import rejection_figures

SCORES = {"energy": "energy", "max_softmax": "max_softmax", "entropy": "neg_entropy"}


def outputs_of(method, **options):
    data = f"arrays:{asset('reference', 'open-set', 'open-set.npz')}"
    experiment = build(recorded_config(method, dataset=data, **options))
    experiment.method.start(experiment.source)
    labels = experiment.stream.labels()
    recorder = KeepOutputs(experiment.plan, labels, "logits", score=experiment.score)
    evaluate(experiment.method, experiment.stream, recorder)
    recorder.close()
    return experiment.plan, labels, torch.cat(recorder.kept), figures(recorder.domains())


def scored(plan, labels, outputs, name):
    score = partial(KNOWN_SCORES[name], kind="logits")
    recorder = Recorder(plan, labels, "logits", score=score)
    recorder.update(Batch(torch.empty(0), 0, len(plan), False), outputs)
    recorder.close()
    return figures(recorder.domains())


@pytest.mark.parametrize(
    ("method", "options", "images"),
    [
        ("source", {}, 0),
        ("bn", {}, 0),
        ("tent", {}, 2),
        pytest.param("eata", {"set": {"compat": True}}, 2, marks=pytest.mark.slow),
    ],
)
def test_figures_are_those_of_the_authors_code(method, options, images):
    entries = json.loads(asset("reference", "open-set", "figures.json").read_text())["open_set"]
    expected = next(entry for entry in entries if entry["method"] == method)
    plan, labels, outputs, own = outputs_of(method, **options)
    for name, there in SCORES.items():
        found = scored(plan, labels, outputs, name)
        columns = {"known_accuracy": expected["accuracy_known"]} | {
            ours: expected[there][theirs]
            for ours, theirs in (("auroc", "auroc"), ("fpr95", "fpr95"), ("h_score", "H"))
        }
        for column, values in columns.items():
            rows = [100 * row[column] for row in found["domains"]]
            # One of 400 images is a quarter of a point; the rest is how scores are rounded.
            step = {"known_accuracy": 0.25, "fpr95": 0.25, "h_score": 0.1}.get(column, 0.02)
            close = images * step + (0.02 if column in ("auroc", "h_score") else 0.001)
            np.testing.assert_allclose(rows, values, atol=close, err_msg=f"{name} {column}")
            assert found[column] == pytest.approx(np.mean(rows) / 100)
    assert own["auroc"] == scored(plan, labels, outputs, "energy")["auroc"]


def test_the_rule_of_the_queue_gives_the_figures_of_the_authors_script():
    entries = json.loads(asset("reference", "open-set", "figures.json").read_text())["open_set"]
    expected = next(entry for entry in entries if entry["method"] == "owttt")
    with np.load(asset("reference", "open-set", "logits.npz")) as stored:
        outputs = stored[expected["logits"]]
    with np.load(asset("reference", "open-set", "open-set.npz")) as stored:
        labels = stored["labels"]
    right, starts = outputs.argmax(1) == labels, np.arange(0, 4000, 200)
    counted, resets = np.ones(4000, bool), np.zeros(4000, bool)
    found = rejection_figures(outputs.max(1) / 10, starts, right, labels >= 0, counted, resets)
    assert [round(rate, 4) for rate in found.values()] == [*expected["released_rule"].values()]
