"""SPA's steps, written out for one degraded view after the other."""

import torch

from tests.methods.selective import IMAGES, make, parameters
from tta.ops.views.degradation import blend_noise, mask_low_frequencies

PLAIN = {"lr": 0.1, "predictor_lr": 0.2, "momentum": 0.0}


def naive_losses(spa):
    """Return the two losses, image by image, and how many images count in each."""
    target = spa.backbone(IMAGES).detach().softmax(1)
    shares = spa.amplitudes.square()
    mean, std = spa.backbone.mean, spa.backbone.std
    masked = mask_low_frequencies(IMAGES, spa.generator, 0.2, mean)
    losses, counts = [], []
    for view in (masked, blend_noise(IMAGES, shares, spa.generator, mean, std)):
        predicted = spa.backbone.head(spa.backbone.features(view) @ spa.predictor.T).softmax(1)
        kept = [i for i in range(len(IMAGES)) if target[i].max() > predicted[i].max()]
        divergences = [(target[i] * (target[i] / predicted[i]).log()).sum() for i in kept]
        losses.append(sum(divergences) / len(kept))
        counts.append(len(kept))
    return losses, counts


def test_one_step_is_the_divergence_of_the_less_certain_views():
    spa, naive = (make("spa", **PLAIN) for _ in range(2))
    losses, counts = naive_losses(naive)
    assert any(0 < count < len(IMAGES) for count in counts)
    trained = [*naive.parameters, naive.predictor, naive.amplitudes]
    gradients = torch.autograd.grad(sum(losses), trained)
    *affine, predictor, amplitudes = (
        (before + step * gradient).detach()
        for before, gradient, step in zip(
            trained, gradients, [-0.1] * len(naive.parameters) + [-0.2, 1.0], strict=True
        )
    )
    spa.step(IMAGES)
    expected = torch.cat([part.flatten() for part in affine])
    torch.testing.assert_close(parameters(spa), expected, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(spa.predictor.detach(), predictor, atol=1e-6, rtol=1e-4)
    normalised = (amplitudes * (0.4 / amplitudes.square().mean()).sqrt()).clamp(-1, 1)
    torch.testing.assert_close(spa.amplitudes.detach(), normalised, atol=1e-5, rtol=1e-4)


def test_outputs_are_those_before_the_update_and_the_predictor_starts_as_the_identity():
    spa = make("spa")
    assert torch.equal(spa.predictor, torch.eye(spa.backbone.feature_dim))
    before = spa.predict(IMAGES)
    torch.testing.assert_close(spa.step(IMAGES), before)
    assert (spa.predict(IMAGES) - before).abs().max() > 1e-4


def test_nothing_selected_moves_nothing_although_there_is_momentum():
    spa = make("spa")
    spa.step(IMAGES)
    moved = parameters(spa), spa.amplitudes.detach().clone()
    with torch.no_grad():
        for parameter in spa.backbone.classifier.parameters():
            parameter.zero_()  # all predictions are uniform: none is more certain than another
    spa.step(IMAGES)
    assert torch.equal(parameters(spa), moved[0])
    assert torch.equal(spa.amplitudes, moved[1])


def test_without_noise_the_shares_stay_at_nothing():
    spa = make("spa", noise=0.0)
    spa.step(IMAGES)
    assert (spa.amplitudes == 0).all()


def test_the_network_is_shown_views_within_one_standard_deviation_of_its_mean():
    spa = make("spa", noise=0.5)
    spa.backbone.mean.copy_(torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
    spa.backbone.std.copy_(torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
    masked, noisy = spa._degrade(IMAGES)
    shown = spa.backbone._normalise(noisy)
    assert shown.abs().max() <= 1 + 1e-5
    assert (shown.abs() > 1 - 1e-5).float().mean() > 0.2
    assert spa.backbone._normalise(masked).abs().max() > 1.5  # nothing is clipped there
