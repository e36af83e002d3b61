"""A convolution's gradient without its input, where the gradient of its weight is not asked for.

Such a gradient takes the gradient at the output and the weight; of the input it takes the shape
alone. torch's operator is given the input nevertheless, which code that is written for a forward
and a backward pass then keeps, or computes again: for frozen convolutions, all activations.
"""

from __future__ import annotations

import torch
from torch._inductor.custom_graph_pass import CustomGraphPass
from torch.fx import Graph, Node


class LeaveOutUnreadInputs(CustomGraphPass):
    """Puts memory that nothing fills in the place of inputs that no gradient needs."""

    def __call__(self, graph: Graph) -> None:
        for node in list(graph.nodes):
            if node.target is torch.ops.aten.convolution_backward.default and not _reads(node):
                _leave_out_input(graph, node)

    def uuid(self) -> str:
        """Return what kept code is known by."""
        return "leave out unread inputs, 1"


def _reads(node: Node) -> bool:
    """Return whether a gradient of the weight is asked for."""
    return bool(node.args[-1][1])


def _leave_out_input(graph: Graph, node: Node) -> None:
    value = node.args[1].meta["val"]
    with graph.inserting_before(node):
        unfilled = graph.call_function(
            torch.ops.aten.empty_strided.default,
            (list(value.shape), list(value.stride())),
            {"dtype": value.dtype, "device": value.device},
        )
    unfilled.meta["val"] = value
    node.args = (node.args[0], unfilled, *node.args[2:])
