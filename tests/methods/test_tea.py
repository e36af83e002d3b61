"""TEA's samples, the buffer that they start from, and the loss."""

from __future__ import annotations

import pytest
import torch

from tests.methods.selective import IMAGES, make, parameters
from tta.methods.tea import energy_gap
from tta.methods.tea_buffer import ReplayBuffer

SMALL = {"steps": 3, "buffer_size": 12}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_worked_example_of_the_loss():
    real = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]])
    sampled = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.5]])
    assert energy_gap(real, sampled).item() == pytest.approx(-0.228563, abs=5e-7)


def draws(tea, images):
    """Return what a step will draw: places, noise to start from, and noise of every step."""
    own = torch.Generator()
    own.set_state(tea.generator.get_state())
    places = torch.randint(tea.params.buffer_size, (len(images),), generator=own)
    fresh = torch.rand(len(images), generator=own) < tea.params.fresh_share
    start = 2 * torch.rand(images.shape, generator=own) - 1
    labels = None
    if tea.params.conditional:
        labels = torch.randint(tea.backbone.num_classes, (len(images),), generator=own)
    steps = [torch.randn(images.shape, generator=own) for _ in range(tea.params.steps)]
    return places, fresh, start, labels, steps


def ascended(backbone, images, labels, noise):
    """Return samples after Langevin steps of size 0.1, as the rule has them."""
    for drawn in noise:
        images = images.detach().requires_grad_(True)
        logits = backbone(images)
        value = logits.logsumexp(1) if labels is None else logits[range(len(labels)), labels]
        value.sum().backward()
        images = images + 0.1 * images.grad + 0.01 * drawn
    return images.detach()


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("kind", ["batch_norm", "layer_norm"])
def test_two_steps_written_out(kind, conditional):
    tea, naive = (make("tea", kind, conditional=conditional, **SMALL) for _ in range(2))
    optimizer = torch.optim.Adam(naive.parameters, lr=1e-3)
    held = {}
    for images in (IMAGES, IMAGES[:5].flip(3)):
        places, fresh, start, labels, noise = draws(tea, images)
        for row, place in enumerate(places.tolist()):
            if place in held and not fresh[row]:
                start[row] = held[place]
        sampled = ascended(naive.backbone, start, labels, noise)
        held |= dict(zip(places.tolist(), sampled, strict=True))
        optimizer.zero_grad()
        real, other = naive.backbone(images), naive.backbone(sampled)
        (other.logsumexp(1).mean() - real.logsumexp(1).mean()).backward()
        optimizer.step()
        outputs = tea.step(images)
        torch.testing.assert_close(outputs, naive.predict(images), atol=1e-4, rtol=1e-3)
        assert torch.equal(outputs, tea.predict(images))
        for place, sample in held.items():
            torch.testing.assert_close(tea.buffer.images[place], sample, atol=1e-4, rtol=1e-3)


def test_samples_gain_what_real_images_lose():
    tea = make("tea", "batch_norm", steps=20, noise=0.0)
    start, _ = tea.buffer.draw(IMAGES, 0.0, tea.generator)
    tea.reset()
    sampled = tea._sample(IMAGES)
    logits = [tea.predict(images) for images in (start, sampled)]
    before, after = (values.logsumexp(1).mean() for values in logits)
    assert after > before


def test_a_place_is_noise_until_a_sample_is_stored_there():
    buffer = ReplayBuffer(50, torch.device("cpu"))
    start, places = buffer.draw(IMAGES, 0.0, generator())
    assert -1 <= start.min() < -0.9
    assert 0.9 < start.max() <= 1
    samples = torch.arange(8.0).view(8, 1, 1, 1).expand_as(IMAGES)
    buffer.store(samples, places)
    again, same_places = buffer.draw(IMAGES, 0.0, generator())
    assert torch.equal(places, same_places)
    assert torch.equal(again, samples)
    other, elsewhere = buffer.draw(IMAGES, 0.0, generator(1))
    free = ~buffer.stored[elsewhere]
    assert 0 < free.sum() < 8
    assert other[free].abs().max() <= 1
    row, place = int((~free).nonzero()[0]), int(elsewhere[~free][0])
    assert torch.equal(other[row], samples[places.tolist().index(place)])


def test_a_share_starts_from_new_noise():
    buffer = ReplayBuffer(4, torch.device("cpu"))
    buffer.store(torch.full((4, 3, 8, 8), 7.0), torch.arange(4))
    like = torch.zeros(4000, 3, 8, 8)
    start, _ = buffer.draw(like, 0.25, generator())
    fresh = start.flatten(1).amax(1) < 7
    assert abs(fresh.float().mean() - 0.25) < 0.03
    assert buffer.draw(like, 1.0, generator())[0].max() <= 1


def test_of_two_samples_for_one_place_the_later_stays():
    buffer = ReplayBuffer(3, torch.device("cpu"))
    buffer.store(IMAGES[:4], torch.tensor([2, 0, 2, 2]))
    assert torch.equal(buffer.images[2], IMAGES[3])
    assert torch.equal(buffer.images[0], IMAGES[1])
    assert buffer.stored.tolist() == [True, False, True]


def test_draws_do_not_depend_on_the_layout():
    buffer = ReplayBuffer(3, torch.device("cpu"))
    other = IMAGES.contiguous(memory_format=torch.channels_last)
    (first, _), (second, _) = (buffer.draw(like, 0.0, generator()) for like in (IMAGES, other))
    assert torch.equal(first, second)
    assert second.is_contiguous(memory_format=torch.channels_last)


def test_a_state_holds_what_is_stored_and_a_reset_empties_the_buffer():
    tea = make("tea", **SMALL)
    assert tea.state_dict()["buffer"]["images"] is None
    tea.step(IMAGES[:2])
    state = tea.state_dict()
    assert len(state["buffer"]["images"]) == len(state["buffer"]["places"]) <= 2
    images = tea.buffer.images.clone()
    tea.step(IMAGES)
    tea.load_state_dict(state)
    assert torch.equal(tea.buffer.images[tea.buffer.stored], images[tea.buffer.stored])
    tea.reset()
    assert tea.buffer.images is None
    assert not tea.buffer.stored.any()


def test_samples_that_are_not_finite_are_given_up_for_what_they_started_from():
    tea = make("tea", "layer_norm", step_size=1e38, steps=2, buffer_size=40)
    _, _, start, _, _ = draws(tea, IMAGES)
    assert torch.equal(tea._sample(IMAGES), start)
    assert torch.isfinite(tea.buffer.images).all()


def test_test_images_gain_energy_over_samples():
    tea = make("tea", "batch_norm", lr=0.01, **SMALL)
    before = parameters(tea)
    for _ in range(10):
        tea.step(IMAGES)
    assert not torch.equal(parameters(tea), before)
    fresh = make("tea", "batch_norm")
    assert tea.predict(IMAGES).logsumexp(1).mean() > fresh.predict(IMAGES).logsumexp(1).mean()
