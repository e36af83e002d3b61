"""Inputs of convolutions that no gradient reads: left out, and nothing else changed."""

from __future__ import annotations

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from tta.backbones.unread_inputs import LeaveOutUnreadInputs


def traced(mask):
    def gradients(gradient, images, weight):
        geometry = [1, 1], [1, 1], [1, 1], False, [0, 0], 1
        return torch.ops.aten.convolution_backward(gradient, images, weight, [4], *geometry, mask)

    inputs = torch.rand(2, 4, 5, 5), torch.rand(2, 3, 5, 5), torch.rand(4, 3, 3, 3)
    return make_fx(gradients, tracing_mode="fake")(*inputs), inputs


@pytest.mark.parametrize("mask", [[True, False, False], [True, False, True], [True, True, False]])
def test_only_the_gradient_of_the_weight_reads_the_input(mask):
    module, inputs = traced(mask)
    expected = module(*inputs)
    LeaveOutUnreadInputs()(module.graph)
    module.recompile()
    _, images, _ = (node for node in module.graph.nodes if node.op == "placeholder")
    assert bool(images.users) == mask[1]
    for one, other in zip(expected, module(*inputs), strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)
