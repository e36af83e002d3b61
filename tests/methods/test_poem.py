"""POEM's bets, targets and losses, and when nothing is trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.fakes import make_backbone, make_source
from tests.methods.selective import IMAGES, between_entropies, make, parameters
from tta.foundation.errors import UserError
from tta.methods import METHODS
from tta.methods.poem_protector import GREATEST_STAKE, Protector
from tta.ops.losses import entropy

SOURCE = torch.tensor([0.4, 0.1, 1.0, 0.2, 0.8])
TEST = np.array([0.9, 0.95, 0.7, 0.3, 0.85], np.float32)
RATE = 1 / (8 * 3**0.5)


def protector(entropies=SOURCE, rate=RATE, bound=1.8):
    made = Protector(rate, bound)
    made.learn(entropies)
    return made


def test_the_worked_example_of_the_bets():
    bets = protector()
    stakes, wealth, targets = [], [], []
    for value in TEST:
        stakes.append(bets.stake)
        targets.append(float(bets.protect(value[None])[0]))
        wealth.append(bets.wealth)
    near = {"atol": 1e-6, "rtol": 0}
    np.testing.assert_allclose(stakes, [0, 0, 0.072169, 0.106739, 0.106739], **near)
    np.testing.assert_allclose(bets.stake, 0.146415, **near)
    np.testing.assert_allclose(targets, [0.9, 0.95, 0.686468, 0.286658, 0.843195], **near)
    np.testing.assert_allclose(wealth, [1, 1, 1.018042, 1.018042, 1.056075], **near)


def test_a_batch_is_its_samples_one_after_the_other():
    one_by_one, at_once = protector(), protector()
    expected = np.concatenate([one_by_one.protect(value[None]) for value in TEST])
    assert (at_once.protect(TEST) == expected).all()
    assert at_once.state_dict()["bets"] == one_by_one.state_dict()["bets"]


def test_the_distribution_counts_ties_once_and_ends_where_it_was_seen():
    bets = protector(torch.tensor([0.5, 0.2, 0.5, torch.nan, 0.5]))
    assert bets.entropies.tolist() == [np.float32(0.2), 0.5]
    assert bets.shares.tolist() == [0.25, 1.0]
    beyond = np.array([0.0, 9.0], np.float32)
    assert bets.protect(beyond).tolist() == [np.float32(0.2), 0.5]


def test_without_a_shift_there_is_little_to_gain_and_with_one_there_is():
    draws = np.random.default_rng(0)
    source = torch.from_numpy(draws.uniform(0, 1, 4000).astype(np.float32))
    same, other = protector(source), protector(source)
    same.protect(draws.uniform(0, 1, 1000).astype(np.float32))
    shifted = draws.uniform(0.4, 1, 1000).astype(np.float32)
    targets = other.protect(shifted)
    assert same.wealth < 20 < 1e6 < other.wealth
    assert abs(same.stake) < 0.7
    assert targets[-200:].mean() < shifted[-200:].mean() - 0.1


def test_what_is_nan_is_passed_over():
    with_nan, without = protector(), protector()
    found = with_nan.protect(np.insert(TEST, 2, np.nan))
    assert (np.delete(found, 2) == without.protect(TEST)).all()
    assert with_nan.state_dict()["bets"] == without.state_dict()["bets"]


@pytest.mark.parametrize("rate", [RATE, 5.0])
def test_no_bet_can_lose_everything(rate):
    bets = protector(rate=rate)
    bets.protect(np.full(2000, 9.0, np.float32))
    assert 1.8 <= bets.stake <= GREATEST_STAKE
    assert bets.wealth > 1e100
    bets.protect(np.full(2000, 0.0, np.float32))
    assert np.isfinite(bets.wealth)
    assert bets.wealth > 0


def test_source_images_without_an_entropy_are_refused():
    with pytest.raises(UserError, match="no source image.*finite entropy.*--weights"):
        protector(torch.tensor([torch.nan]))


@pytest.mark.parametrize(("loss", "expected"), [("match++", 0.002314), ("match", 0.0018)])
def test_the_worked_example_of_the_losses(loss, expected):
    poem = make("poem", loss=loss)
    poem.margin = 0.4 * float(np.log(10))
    found, targets = torch.tensor([0.3, 0.9, 0.1]), torch.tensor([0.28, 0.8, 0.12])
    assert poem.loss(found, targets).item() == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize("kind", ["batch_norm", "layer_norm"])
def test_source_entropies_are_of_the_network_as_it_is(kind):
    poem = make("poem", kind, source_samples=7, temperature=2.0)
    images = torch.cat(list(make_source().first_images(7)))
    network = make("source", kind).backbone
    expected = entropy(network(images) / 2).detach().sort().values.double()
    found = torch.from_numpy(poem.protector.entropies)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def written_out(poem, images):
    """Return logits and the loss of a step as the rule has them."""
    logits = poem.backbone(images) / poem.params.temperature
    found = entropy(logits)
    targets = torch.from_numpy(poem.protector.protect(found.detach().numpy()))
    if poem.params.loss == "match":
        return logits.detach(), (found - targets).square().mean() / 2
    certain = found < poem.margin
    weights = (poem.margin - found.detach()).exp()
    return logits.detach(), (weights * (found - targets)).square()[certain].mean() / 2


@pytest.mark.parametrize("loss", ["match", "match++"])
@pytest.mark.parametrize("kind", ["batch_norm", "layer_norm"])
def test_two_steps_written_out(kind, loss):
    options = {"loss": loss, "margin": 0.7, "warm_up_samples": 0, "lr": 0.1}
    poem, naive = (make("poem", kind, **options) for _ in range(2))
    optimizer = torch.optim.SGD(naive.parameters, lr=0.1, momentum=0.9)
    for images in (IMAGES, IMAGES[:5].flip(3)):
        optimizer.zero_grad()
        logits, value = written_out(naive, images)
        value.backward()
        optimizer.step()
        torch.testing.assert_close(poem.step(images), logits)
        torch.testing.assert_close(parameters(poem), parameters(naive), atol=1e-6, rtol=1e-5)
    assert not torch.equal(parameters(poem), parameters(make("poem", kind)))


def test_nothing_is_trained_until_so_many_images_have_come():
    poem = make("poem", warm_up_samples=17)
    before = parameters(poem)
    for images in (IMAGES, IMAGES):
        assert torch.equal(poem.step(images), poem.predict(images))
        assert torch.equal(parameters(poem), before)
    assert poem.protector.started
    poem.step(IMAGES[:1])
    assert not torch.equal(parameters(poem), before)


@pytest.mark.parametrize("loss", ["match", "match++"])
def test_one_forward_pass_is_enough(loss):
    poem = make("poem", loss=loss, margin=2.0, warm_up_samples=0)
    before = poem.backbone.passes.forward, poem.backbone.passes.backward
    poem.step(IMAGES)
    after = poem.backbone.passes.forward, poem.backbone.passes.backward
    assert [b - a for a, b in zip(before, after, strict=True)] == [len(IMAGES)] * 2


def test_where_nothing_is_certain_no_step_is_taken():
    poem = make("poem", loss="match++", warm_up_samples=0, margin=2.0)
    poem.step(IMAGES)  # momentum is there
    poem.margin = 0.0
    before, optimizer = parameters(poem), poem.state_dict()["optimizer"]
    bets = poem.protector.state_dict()["bets"]
    poem.step(IMAGES)
    assert torch.equal(parameters(poem), before)
    again = poem.state_dict()["optimizer"]["state"]
    for number, entry in optimizer["state"].items():
        assert torch.equal(entry["momentum_buffer"], again[number]["momentum_buffer"])
    assert poem.protector.state_dict()["bets"] != bets


@pytest.mark.parametrize("loss", ["match", "match++"])
def test_a_batch_with_an_image_that_is_not_finite_trains_nothing(loss):
    poem = make("poem", loss=loss, warm_up_samples=0, margin=2.0)
    before = parameters(poem)
    images = torch.cat([IMAGES[:2], IMAGES[:1] * torch.nan])
    outputs = poem.step(images)
    torch.testing.assert_close(outputs[:2], poem.predict(IMAGES[:2]))
    assert torch.equal(parameters(poem), before)
    assert torch.isfinite(poem.step(IMAGES)).all()
    assert torch.isfinite(parameters(poem)).all()


def test_only_certain_samples_count_for_the_weighted_loss():
    margin = between_entropies(make("poem"), 5)
    poem = make("poem", loss="match++", margin=margin, warm_up_samples=0)
    found = entropy(poem.predict(IMAGES)).requires_grad_(True)
    poem.loss(found, torch.zeros(len(IMAGES))).backward()
    assert (found.grad != 0).sum() == 5


def test_the_last_stage_is_not_trained():
    poem = make("poem", "layer_norm", frozen_share=0.5)
    assert len(poem.parameters) < len(METHODS["tent"](make_backbone("layer_norm")).parameters)


def test_a_reset_takes_the_bets_back_and_a_saved_state_goes_on():
    poem = make("poem", warm_up_samples=0)
    start = poem.protector.state_dict()["bets"]
    poem.step(IMAGES)
    saved = poem.state_dict()
    expected = poem.step(IMAGES)
    poem.reset()
    assert poem.protector.state_dict()["bets"] == start
    other = make("poem", warm_up_samples=0)
    other.protector.learn(torch.ones(3))  # what the state brings along
    other.load_state_dict(saved)
    assert torch.equal(other.step(IMAGES), expected)
