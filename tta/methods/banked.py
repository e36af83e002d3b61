"""Methods that learn from a bank of images, whatever the size of batches."""

from __future__ import annotations

import torch
from torch import Tensor

from tta.methods.base import Method
from tta.ops.memory import arrivals_until_due


class Banked(Method):
    """Predicts image by image, and learns from its bank after every so many of them.

    A subclass makes ``self.bank`` and sets ``self.seen`` to 0 in :meth:`configure`, both of which
    are part of its ``state``; its ``Params`` have ``update_interval``.
    """

    def step(self, images: Tensor) -> Tensor:
        outputs = []
        for part in arrivals_until_due(self.seen, len(images), self.params.update_interval):
            logits = self.predict(images[part])
            self.bank.insert(images[part], logits, self.generator)
            outputs.append(logits)
            self.seen += len(logits)
            if self.seen % self.params.update_interval == 0:
                self._learn()
        return torch.cat(outputs)

    def _learn(self) -> None:
        slots = self.bank.occupied_slots()
        if len(slots):
            self.learn(self.bank.images_in(slots))

    def learn(self, images: Tensor) -> None:
        """Take a step on the images of the bank ``[N, 3, H, W]``, of which there are some."""
        raise NotImplementedError
