"""What EATA adds to ETA."""

import torch

from tests.fakes import make_source
from tests.methods.selective import IMAGES, make, parameters

ALL = {"margin": 9.0, "redundancy_margin": 2.0}


def distance(method, start):
    return (parameters(method) - start).norm()


def test_without_weight_it_is_eta():
    eata, eta = make("eata", fisher_weight=0.0, fisher_samples=2, **ALL), make("eta", **ALL)
    for _ in range(2):
        assert torch.equal(eata.step(IMAGES), eta.step(IMAGES))


def test_the_penalty_holds_the_model_at_the_source():
    options = {**ALL, "fisher_samples": 6, "optimizer": "sgd", "lr": 1e-3}
    free, held = make("eata", fisher_weight=0.0, **options), make("eata", **options)
    start = parameters(held)
    held.fisher.fill_(400.0)
    for _ in range(4):
        free.step(IMAGES)
        held.step(IMAGES)
    assert 0 < distance(held, start) < 0.8 * distance(free, start)


def test_the_information_of_images_does_not_depend_on_the_batch_size():
    for kind in ("batch_norm", "layer_norm"):
        method = make("eata", kind, fisher_samples=12)
        expected = method.fisher
        method.prepare(make_source(batch_size=5))
        torch.testing.assert_close(method.fisher, expected, atol=1e-7, rtol=1e-4)


def test_batches_give_smaller_values_than_images():
    images, batches = (make("eata", fisher_samples=12, compat=compat) for compat in (False, True))
    assert 0 < batches.fisher.sum() < images.fisher.sum()


def test_layers_go_back_to_the_statistics_of_the_test_batch():
    eata, eta = make("eata", "batch_norm", fisher_samples=2), make("eta", "batch_norm")
    assert torch.equal(eata.predict(IMAGES), eta.predict(IMAGES))
