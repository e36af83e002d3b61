"""Buffer layers around a method that minimises a loss of its outputs."""

from __future__ import annotations

from dataclasses import dataclass

from tta.foundation.errors import UserError
from tta.methods.base import Method
from tta.methods.buffer_layers import insert_buffers
from tta.methods.params import param
from tta.methods.plug_in import PlugIn, PlugInParams
from tta.methods.tent import Tent


class Buffer(PlugIn):
    """Lets a method train small convolutions beside the network's, and nothing of the network.

    One stands after the first convolution, the others before those of the first stages (Kim et
    al., NeurIPS 2025). They start with a weight of ``scale``, so that a stream begins with the
    outputs of the method inside before its first step. Batch norm goes on with statistics of the
    batch. The loss is that of the method inside, which trains affine parameters by itself (tent,
    eata, sar, deyo, roid and their like); which of them it would train is of no matter.

    Published for wide residual nets, whose convolutions come after batch norm and ReLU; here in
    the same places of any network. Where a scale is too small for float16 to show, as the default
    is, gradients still reach it.
    """

    name = "buffer"
    paper = "Kim et al., Buffer layers for test-time adaptation, NeurIPS 2025"

    @dataclass(frozen=True)
    class Params(PlugInParams):
        """Hyper-parameters; those of the method inside are ``inner.NAME``."""

        scale: float = param(
            1e-5, "a: weight that layers start with; 1e-4 is published for batches of 16"
        )
        stages: int = param(1, "stages with layers", unit="stages", minimum=0)

    def make_inner(self, kind: type[Method]) -> Method:
        if not issubclass(kind, Tent):
            raise UserError(
                f"buffer trains layers of its own in place of affine parameters, and {kind.name!r} "
                "trains no such: set inner to tent, eta, eata, sar, deyo, rpl, roid or cmf"
            )
        params = self.params
        added = insert_buffers(self.backbone.model, params.stages, params.scale, self.generator)
        around = type(kind.__name__, (kind,), {"adapted_parameters": lambda _: added})
        return super().make_inner(around)
