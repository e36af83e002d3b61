"""UnMix-TNS: what it draws, what a reset brings back, what moves."""

from __future__ import annotations

import torch

from tests.fakes import make_images
from tests.methods.selective import IMAGES, make


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def test_components_are_drawn_from_the_seed_and_a_reset_brings_them_back():
    methods = [make("unmix_tns", "batch_norm") for _ in range(2)]
    start = flat(methods[0].statistics)
    assert torch.equal(start, flat(methods[1].statistics))
    outputs = [methods[0].step(make_images(6, seed)) for seed in range(3)]
    assert not torch.equal(start, flat(methods[0].statistics))
    methods[0].reset()
    assert torch.equal(start, flat(methods[0].statistics))
    again = [methods[0].step(make_images(6, seed)) for seed in range(3)]
    assert all(map(torch.equal, outputs, again))


def test_layers_are_unlike_and_so_are_their_components():
    method = make("unmix_tns", "batch_norm")
    for layer in method.layers:
        assert len(layer.means) == 16
        assert (layer.means.std(0) > 0).all()
    first, second = method.layers[:2]
    noise = [
        (layer.means - layer.running_mean) / layer.running_var.sqrt() for layer in (first, second)
    ]
    channels = min(part.shape[1] for part in noise)
    assert not torch.allclose(noise[0][:, :channels], noise[1][:, :channels])


def test_an_image_is_predicted_alike_alone_and_in_company():
    method = make("unmix_tns", "batch_norm")
    together = method.predict(IMAGES)
    alone = torch.cat([method.predict(image[None]) for image in IMAGES])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_outputs_are_those_of_the_components_as_they_were():
    method = make("unmix_tns", "batch_norm")
    expected = method.predict(IMAGES)
    torch.testing.assert_close(method.step(IMAGES), expected)
    assert not torch.equal(method.predict(IMAGES), expected)


def test_images_that_are_not_numbers_leave_everything_alone():
    method = make("unmix_tns", "batch_norm")
    start = flat(method.statistics)
    method.step(torch.full_like(IMAGES, torch.nan))
    torch.testing.assert_close(flat(method.statistics), start)
    assert torch.isfinite(method.step(IMAGES)).all()
