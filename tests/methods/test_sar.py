"""SAR's step against its definition, and its recovery."""

import torch

from tests.methods.selective import IMAGES, between_entropies, make, parameters

SGD = {"lr": 0.1, "momentum": 0.0, "frozen_share": 0.0}


def gradient(method, margin, reliable=None):
    entropies = method.uncertainty(method.backbone(IMAGES))
    passing = entropies < margin if reliable is None else reliable & (entropies < margin)
    parts = torch.autograd.grad(entropies[passing].mean(), method.parameters)
    return torch.cat([part.flatten() for part in parts]), passing


def test_one_step_applies_the_gradient_of_the_worst_point_nearby():
    fraction = between_entropies(make("tent"), 5)
    sar = make("sar", margin=fraction, radius=0.5, **SGD)
    naive = make("sar", margin=fraction, radius=0.5, **SGD)
    start = parameters(naive)
    uphill, reliable = gradient(naive, naive.margin)
    worst = start + 0.5 * uphill / uphill.norm()
    torch.nn.utils.vector_to_parameters(worst, naive.parameters)
    second, _ = gradient(naive, naive.margin, reliable)
    sar.step(IMAGES)
    torch.testing.assert_close(parameters(sar), start - 0.1 * second, atol=1e-6, rtol=1e-5)
    assert (second - uphill).norm() > 1e-3


def test_a_batch_without_reliable_samples_changes_nothing():
    sar = make("sar", margin=9.0)
    sar.step(IMAGES)
    before, sar.margin = sar.state_dict(), 0.0
    sar.step(IMAGES)
    after = sar.state_dict()
    assert all(
        torch.equal(*pair) for pair in zip(before["parameters"], after["parameters"], strict=True)
    )
    assert torch.equal(before["mean_loss"], after["mean_loss"])


def test_a_low_mean_loss_resets_everything():
    sar = make("sar", margin=9.0, lr=0.1)
    start = parameters(sar)
    sar.step(IMAGES)
    assert not torch.equal(parameters(sar), start)
    sar.mean_loss.fill_(0.0)
    sar.backbone.classifier.weight.data.mul_(1e4)  # the loss of a collapsed model: nearly 0
    sar.step(IMAGES)
    assert torch.equal(parameters(sar), start)
    assert sar.mean_loss.isinf()


def test_images_that_are_not_numbers_leave_the_model_alone():
    sar = make("sar", margin=9.0)
    start = parameters(sar)
    sar.step(torch.full_like(IMAGES, torch.nan))
    assert torch.equal(parameters(sar), start)


def test_the_last_stage_is_not_trained():
    kinds = ("batch_norm", "layer_norm")
    frozen, all_of_them = (
        [len(make("sar", kind, frozen_share=share).parameters) for kind in kinds]
        for share in (0.25, 0.0)
    )
    assert all(few < many for few, many in zip(frozen, all_of_them, strict=True))
