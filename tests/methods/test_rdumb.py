import torch

from tests.methods.selective import IMAGES, make

ALL = {"margin": 9.0, "redundancy_margin": 2.0}


def test_it_is_eta_until_the_interval_ends_and_starts_anew():
    rdumb, eta = make("rdumb", reset_interval=2, **ALL), make("eta", **ALL)
    first, second = eta.step(IMAGES), eta.step(IMAGES)
    assert not torch.equal(first, second)
    outputs = [rdumb.step(IMAGES) for _ in range(5)]
    for expected, output in zip((first, second, first, second, first), outputs, strict=True):
        assert torch.equal(output, expected)
