from __future__ import annotations

import pytest
import torch

from tta.ops.contrastive import (
    contrast_with_prototypes,
    make_projector,
    nearest_prototype,
    prototype_contrastive_loss,
    queue_contrastive_loss,
)


def random_views(batch: int, views: int = 3, dim: int = 8) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(batch)
    drawn = torch.randn(views, batch, dim, generator=generator, dtype=torch.float64)
    return list(drawn.requires_grad_())


def double_loop(views: list[torch.Tensor], temperature: float) -> torch.Tensor:
    count, batch = len(views), len(views[0])
    unit = {(i, v): views[v][i] / views[v][i].norm() for i in range(batch) for v in range(count)}
    losses = []
    for (i, v), anchor in unit.items():
        others = [u for key, u in unit.items() if key != (i, v)]
        denominator = sum(torch.exp(anchor @ u / temperature) for u in others).log()
        positives = [unit[i, w] for w in range(count) if w != v]
        terms = [anchor @ u / temperature - denominator for u in positives]
        losses.append(-sum(terms) / len(positives))
    return torch.stack(losses).mean()


def test_golden_vector():
    prototypes = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    features = torch.tensor([[0.8, 0.2], [0.1, 0.7]])
    augmented = torch.tensor([[0.6, 0.3], [0.3, 0.9]])
    nearest = prototypes[nearest_prototype(features, prototypes)]
    loss = prototype_contrastive_loss([nearest, features, augmented], temperature=0.1)
    assert loss.item() == pytest.approx(0.745437, abs=2e-6)
    whole = contrast_with_prototypes(features, augmented, prototypes, make_projector(2, 0, 0))
    assert whole.item() == loss.item()


@pytest.mark.parametrize(("batch", "views"), [(1, 3), (2, 3), (7, 3), (4, 2)])
def test_value_and_gradient_equal_the_double_loop(batch, views):
    drawn = random_views(batch, views)
    loss, expected = prototype_contrastive_loss(drawn, 0.1), double_loop(drawn, 0.1)
    torch.testing.assert_close(loss, expected)
    gradients = torch.autograd.grad(loss, drawn)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, drawn))
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_shared_prototype_stays_among_the_denominators():
    _, features, augmented = random_views(2)
    shared = torch.ones(2, 8, dtype=torch.float64)
    views = [shared, features, augmented]
    torch.testing.assert_close(prototype_contrastive_loss(views), double_loop(views, 0.1))


def test_nearest_prototype_is_by_angle_not_by_length():
    prototypes = torch.tensor([[100.0, 0.0, 0.0], [0.0, 0.1, 0.0], [0.0, -5.0, 5.0]])
    features = torch.tensor([[1.0, 2.0, 0.0], [3.0, 1.0, 0.0], [0.0, -0.1, 0.1]])
    assert nearest_prototype(features, prototypes).tolist() == [1, 0, 2]


def test_nearest_prototype_equals_pairwise_cosine_similarity():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(20, 16, generator=generator)
    prototypes = torch.randn(11, 16, generator=generator)
    expected = torch.cosine_similarity(features[:, None], prototypes[None], dim=2).argmax(dim=1)
    assert torch.equal(nearest_prototype(features, prototypes), expected)


def test_queue_loss_equals_the_loop():
    queries, keys = random_views(5, 2)
    queue = torch.nn.functional.normalize(random_views(9, 1)[0].detach(), dim=1)
    excluded = torch.rand(5, 9, generator=torch.Generator().manual_seed(1)) < 0.5
    excluded[3] = True
    losses = []
    for query, key, mask in zip(queries, keys, excluded, strict=True):
        others = [key, *(other for other, skip in zip(queue, mask, strict=True) if not skip)]
        denominator = sum(torch.exp(query @ other / 0.5) for other in others).log()
        losses.append(denominator - query @ key / 0.5)
    loss = queue_contrastive_loss(queries, keys, queue, excluded, temperature=0.5)
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    (gradient,) = torch.autograd.grad(loss, queries)
    assert gradient.isfinite().all()
    assert gradient[3].abs().sum() < 1e-6  # nothing to contrast with
