"""What speed is measured against computes the same."""

from __future__ import annotations

import pytest
import torch

from benchmarks.timing import naive
from benchmarks.timing.subjects import subject
from tta.methods.lame_optimization import rbf_affinity
from tta.methods.rmt import RobustMeanTeacher
from tta.ops.contrastive import nearest_prototype, prototype_contrastive_loss
from tta.ops.ema import ema_update
from tta.ops.norm.mixed_batch_norm import mixed_batch_norm
from tta.ops.views.augment import CottaAugment


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_mixed_batch_norm():
    x, source = random(4, 3, 5, 5), (random(3), random(3, seed=1).exp())
    affine = random(3, seed=2), random(3, seed=3)
    torch.testing.assert_close(
        mixed_batch_norm(x, source, *affine, 0.3, 1e-5),
        naive.mixed_batch_norm(x, source, *affine, 0.3, 1e-5),
    )


def test_ema_update():
    first, second = [random(4), random(2, 3)], [random(4), random(2, 3)]
    current = [random(4, seed=1), random(2, 3, seed=1)]
    ema_update(first, current, 0.9)
    naive.ema_update(second, current, 0.9)
    torch.testing.assert_close(first, second)


def test_prototypes_and_contrastive_loss():
    features, prototypes = random(6, 16), random(9, 16, seed=1)
    expected = naive.nearest_prototype(features, prototypes)
    assert torch.equal(nearest_prototype(features, prototypes), expected)
    views = [random(6, 16, seed=seed) for seed in range(3)]
    loss = naive.prototype_contrastive_loss(views)
    torch.testing.assert_close(prototype_contrastive_loss(views), loss)


def test_rbf_affinity():
    features = random(12, 8)
    torch.testing.assert_close(rbf_affinity(features, 4), naive.rbf_affinity(features, 4))


def test_augmentation_of_equal_draws():
    images = random(2, 3, 32, 32).sigmoid()
    drawn = [make(images, torch.Generator().manual_seed(3)) for make in augmentations()]
    torch.testing.assert_close(*drawn, atol=2e-5, rtol=0)


def augmentations():
    return CottaAugment(), naive.NaiveAugment()


@pytest.mark.parametrize("target_weight", [0.0, 0.3])
def test_float64_oracle(target_weight):
    case = subject("test_efficientnet", 3)
    logits = case.method("bn_alpha", target_weight=target_weight).step(case.images)
    expected = naive.float64_oracle(case.backbone, target_weight)(case.images.double())
    assert (logits - expected).abs().max() < 1e-5 * expected.abs().max()


def test_first_two_steps_of_rmt():
    case = subject("test_resnet", 4, memory_format=torch.contiguous_format)
    # SGD: the first steps of Adam are of one length whatever the gradient, its rounding included.
    params = {"projection_dim": 8, "warm_up_samples": 0, "optimizer": "sgd", "lr": 1e-2}
    methods = [case.start(kind, **params) for kind in (RobustMeanTeacher, naive.NaiveRmt)]
    for _ in range(2):
        torch.testing.assert_close(*(m.step(case.images) for m in methods), rtol=1e-3, atol=1e-3)
