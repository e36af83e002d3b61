"""A source model that does not know the images is found out before a run is believed."""

import numpy as np
import pytest
import torch

from tta.backbones import create_backbone
from tta.config import RunConfig
from tta.datasets.digits import CLOUD_WEIGHTS, CorruptedDigits
from tta.experiment import build
from tta.experiment.sanity import Sample, binomial_tail, source_warnings
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.stream import Stream


def sample(right, wrong, num_classes=10, seed=0):
    """Return labels in rounds, of which the first ``right`` in random order are predicted."""
    labels = np.arange(right + wrong) % num_classes
    predicted = (labels + 1 + np.arange(len(labels)) % (num_classes - 1)) % num_classes
    chosen = np.random.default_rng(seed).permutation(len(labels))[:right]
    predicted[chosen] = labels[chosen]
    return Sample(labels, predicted, num_classes)


def test_binomial_tail():
    assert binomial_tail(0, 5, 0.3) == 1
    assert binomial_tail(5, 5, 0.5) == pytest.approx(1 / 32)
    assert binomial_tail(2, 3, 0.25) == pytest.approx(3 * 0.25**2 * 0.75 + 0.25**3)
    assert binomial_tail(900, 1024, 0.5) < 1e-100


def test_chance_is_what_guessing_gets():
    assert sample(20, 180).chance == pytest.approx(0.1, abs=0.01)
    assert not sample(20, 180).above_chance()
    assert not sample(28, 172).above_chance()
    assert sample(50, 150).above_chance()
    labels = np.repeat([0, 1], [180, 20])
    majority = Sample(labels, np.zeros(200, int), 2)
    assert majority.accuracy == majority.chance == 0.9
    assert not majority.above_chance()
    alone = Sample(np.zeros(50, int), np.zeros(50, int), 10)
    assert alone.chance == 0.1
    assert alone.above_chance()


def test_guesses_are_rarely_taken_for_knowledge():
    draws = np.random.default_rng(0).integers(0, 10, (2000, 2, 200))
    assert np.mean([Sample(*pair, 10).above_chance() for pair in draws]) < 0.005
    assert not any(Sample(*pair, 10).renumbered() for pair in draws[:200])


def test_outputs_in_another_order_are_told_from_outputs_that_know_nothing():
    known = sample(190, 10)
    order = np.array([1, 0, 2, 4, 3, 6, 5, 8, 9, 7])
    now, then = Sample(known.labels, order[known.predicted], 10).renumbered()
    assert now < 0.2
    assert then > 0.9
    assert known.renumbered() is None
    assert sample(20, 180).renumbered() is None
    collapsed = Sample(known.labels, np.full(200, 3), 10)
    assert collapsed.renumbered() is None


class Permuted(CorruptedDigits):
    """Digits under labels of another order."""

    order = (0, 2, 1, 4, 3, 6, 5, 8, 9, 7)

    def labels(self, domain, severity):
        return np.array(self.order)[super().labels(domain, severity)]


@pytest.fixture(scope="module")
def net():
    return create_backbone("cifar_resnet32", weights=CLOUD_WEIGHTS, num_classes=10)


def stream(dataset, *domains):
    options = ScenarioOptions(domains=domains, severity=1, num_samples=60)
    return Stream(dataset, plan_stream("continual", dataset, options), 30)


def test_one_domain_that_the_model_knows_is_enough(net):
    before = net.passes.take()[0]
    assert before >= 0
    assert source_warnings(stream(CorruptedDigits(), "pixelate", "fog"), net) == ()
    assert net.passes.take()[0] == 60


def test_labels_in_another_order_are_said(net):
    (said,) = source_warnings(stream(Permuted(), "pixelate", "jpeg_compression"), net)
    assert "its classes seem to be in another order than those of the data" in said


def test_a_model_that_knows_nothing_is_said_with_the_usual_causes():
    blank = create_backbone("test_resnet", num_classes=10, pretrained=False)
    (said,) = source_warnings(stream(CorruptedDigits(), "pixelate"), blank)
    assert said.startswith("the source model is at chance: it is right on ")
    for cause in ("order of classes", "normalisation", "size"):
        assert cause in said


def test_a_run_is_as_it_would_be_without(tmp_path, net):
    config = {"domains": ("pixelate",), "num_samples": 40, "backbone": "cifar_resnet32"}
    config |= {"weights": str(CLOUD_WEIGHTS), "num_classes": 10}
    experiment = build(RunConfig(**config))
    random = torch.get_rng_state()
    weights = [value.clone() for value in experiment.backbone.state_dict().values()]
    assert experiment.warnings == ()
    assert torch.equal(torch.get_rng_state(), random)
    after = experiment.backbone.state_dict().values()
    assert all(torch.equal(*pair) for pair in zip(weights, after, strict=True))
    assert build(RunConfig(domains=("fog",), num_samples=8)).warnings == ()
