from __future__ import annotations

import pytest
import torch

from tta.foundation.errors import UserError
from tta.ops.loss_scaling import INITIAL_SCALE, scale_losses, scaled, step_unscaled


def make(kind, **options):
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    return weight, kind([weight], lr=0.1, foreach=True, **options)


KINDS = [(torch.optim.Adam, {}), (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1})]


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_steps_are_those_of_the_unscaled_loss(kind, options):
    pair = make(kind, **options), make(kind, **options)
    scale_losses(pair[1][1])
    for factor in (1.0, 3.0):
        for weight, optimizer in pair:
            optimizer.zero_grad()
            scaled(optimizer, (factor * weight**2).sum()).backward()
            step_unscaled(optimizer)
    torch.testing.assert_close(pair[0][0], pair[1][0])


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_step_whose_gradient_overflows_moves_nothing_and_halves_the_scale(kind, options):
    weight, optimizer = make(kind, **options)
    scale_losses(optimizer)
    weight.grad = torch.tensor([INITIAL_SCALE, torch.inf])
    step_unscaled(optimizer)
    assert torch.equal(weight.detach(), torch.tensor([1.0, -2.0]))
    assert optimizer.param_groups[0]["loss_scale"] == INITIAL_SCALE / 2
    weight.grad = torch.full((2,), INITIAL_SCALE / 2)
    step_unscaled(optimizer)
    assert torch.isfinite(weight).all()
    assert not torch.equal(weight.detach(), torch.tensor([1.0, -2.0]))


def test_an_optimiser_without_a_fused_kernel_is_refused():
    _, optimizer = make(torch.optim.RMSprop)
    with pytest.raises(UserError, match="RMSprop.*use --precision bf16"):
        scale_losses(optimizer)


def test_a_first_step_that_overflows_leaves_momentum_at_zero():
    pair = [make(torch.optim.SGD, momentum=0.9) for _ in range(2)]
    for _, optimizer in pair:
        scale_losses(optimizer)
    weight, optimizer = pair[0]
    weight.grad = torch.full((2,), torch.inf)
    step_unscaled(optimizer)
    for weight, optimizer in pair:
        optimizer.zero_grad()
        scaled(optimizer, (weight**2).sum()).backward()
        step_unscaled(optimizer)
    assert torch.equal(pair[0][0], pair[1][0])


def test_two_optimisers_share_the_scale_of_the_first():
    pair = make(torch.optim.Adam), make(torch.optim.SGD)
    optimizers = [optimizer for _, optimizer in pair]
    for optimizer in optimizers:
        scale_losses(optimizer)
    optimizers[0].param_groups[0]["loss_scale"].fill_(8.0)
    scaled(optimizers[0], sum((weight**2).sum() for weight, _ in pair)).backward()
    step_unscaled(*optimizers)
    torch.testing.assert_close(pair[1][0].detach(), torch.tensor([0.8, -1.6]))
    pair[0][0].grad = torch.full((2,), torch.nan)
    pair[1][0].grad = torch.ones(2)
    step_unscaled(*optimizers)
    torch.testing.assert_close(pair[1][0].detach(), torch.tensor([0.8, -1.6]))
