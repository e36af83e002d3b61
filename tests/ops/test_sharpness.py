import torch
from torch import nn

from tta.ops.sharpness import climb, descend_sharply


def parameters_with_gradients(*gradients):
    parameters = [nn.Parameter(torch.ones(len(gradient))) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    return parameters


def test_the_way_uphill_has_the_radius_as_its_joint_length():
    parameters = parameters_with_gradients([3.0, 0.0], [4.0])
    before = climb(parameters, 0.5)
    torch.testing.assert_close(parameters[0].detach(), torch.tensor([1.3, 1.0]))
    torch.testing.assert_close(parameters[1].detach(), torch.tensor([1.4]))
    torch._foreach_copy_([parameter.detach() for parameter in parameters], before)
    assert all(torch.equal(p, torch.ones_like(p)) for p in parameters)


def test_without_a_gradient_nothing_moves():
    parameters = parameters_with_gradients([0.0, 0.0], [0.0])
    parameters[1].grad = None
    climb(parameters, 0.5)
    assert all(torch.equal(p, torch.ones_like(p)) for p in parameters)


def test_a_sharp_step_applies_the_gradient_from_uphill_where_the_parameters_were():
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    descend_sharply(optimizer, [parameter], lambda: (parameter**4).sum() / 4, radius=0.5)
    start = torch.tensor([1.0, 2.0])
    uphill = start + 0.5 * start**3 / (start**3).norm()
    torch.testing.assert_close(parameter.detach(), start - 0.1 * uphill**3)
