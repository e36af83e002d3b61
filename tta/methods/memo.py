"""MEMO: marginal entropy minimisation with one test point."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tta.methods.base import descend, make_optimizer, trainable
from tta.methods.episodes import go_back
from tta.methods.params import OptimizerParams, param, trained_param
from tta.methods.trained import trained_parameters
from tta.methods.ttaug import AveragedViews
from tta.ops.losses import marginal_entropy


class Memo(AveragedViews):
    """Adapts to one image, predicts it, and forgets it again.

    One step down the entropy of the mean prediction over AugMix views of the image, on all
    parameters; the image itself is predicted afterwards (Zhang et al., NeurIPS 2022). Each image
    of a batch is an episode of its own, optimiser state included: results do not depend on the
    batch size. Between two steps the model is the source's, which :meth:`predict` uses.

    Batch-norm layers mix source statistics with those of the views, or of the image. As in the
    published codes the mixed statistics are constants of the step: no gradient flows through
    them. The published optimiser is plain SGD; the Nesterov momentum that toolboxes share
    between methods makes a first step, and there is no other here, 1.9 times as long.

    ``compat=True`` follows the code of mariodoebler/test-time-adaptation: the batch variance is
    unbiased, as in the authors' code too, one-dimensional batch-norm layers (a bottleneck's) keep
    the source statistics alone, and what operations move into view is black (in the authors' own
    code it is dark red, which is what Pillow makes of the 128 that is written there). It does not
    switch what has a parameter of its own: that toolbox's step is ``momentum=0.9 nesterov=true``,
    and MEMO's own code with prior strength N has ``target_weight`` 1 / (N + 1).
    """

    name = "memo"
    paper = "Zhang et al., MEMO: test time robustness via adaptation and augmentation, NeurIPS 2022"
    resets_often = True
    predicts = "after"
    state = ("parameters", "optimizer")

    @dataclass(frozen=True)
    class Params(AveragedViews.Params, OptimizerParams):
        """Hyper-parameters; the defaults are those for CIFAR."""

        optimizer: str = param("sgd", "optimiser", choices=("adam", "sgd"))
        lr: float = param(5e-3, "learning rate", minimum=0.0)
        momentum: float = param(0.0, "momentum (SGD) or beta1 (Adam)", minimum=0.0, below=1.0)
        nesterov: bool = param(False, "Nesterov momentum (SGD)")
        trained: str = trained_param()

    def configure(self) -> None:
        super().configure()
        self.parameters = trainable(trained_parameters(self.backbone, self.params.trained))
        self.optimizer = make_optimizer(self.parameters, self.params)

    def step(self, images: Tensor) -> Tensor:
        return torch.cat([self._episode(image) for image in images.split(1)])

    def _episode(self, image: Tensor) -> Tensor:
        descend(self.optimizer, marginal_entropy(self.backbone(self.views(image))))
        outputs = self.predict(image)
        go_back(self, *self.state)
        return outputs
