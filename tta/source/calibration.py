"""Accuracy of a source model under pairs of corruptions, from which CCC's paths are laid out."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from tta.backbones.backbone import Backbone
from tta.datasets.ccc import ContinuallyChanging
from tta.datasets.ccc_path import GRID, STEPS_PER_SEVERITY, Step
from tta.datasets.images import to_unit_range
from tta.foundation.arithmetic import arithmetic
from tta.foundation.backends import rounding
from tta.foundation.cache import PreparationCache
from tta.foundation.code_digest import code_digest

SEVERITIES = tuple(range(6))
"""Where accuracy is measured; between them it is interpolated bilinearly."""
_BATCH = 64


class PairAccuracy:
    """Accuracy on some clean test images under two corruptions.

    Results are kept in the cache of what is computed once, under the hash of the model, the
    images, the pair and the code.

    Args:
        dataset: the stream to be calibrated; says how many images and which.
        backbone: the source model.
        device: where it is.
        cache: keep results, and use those that are kept.
    """

    def __init__(
        self,
        dataset: ContinuallyChanging,
        backbone: Backbone,
        device: torch.device,
        cache: bool = True,
    ) -> None:
        self.dataset = dataset
        self.backbone = backbone
        self.device = device
        self.cache = cache
        labels = dataset.clean_labels
        count = min(dataset.options.calibration, len(labels))
        self._rows = np.sort(np.random.default_rng(len(labels)).permutation(len(labels))[:count])
        self._labels = torch.from_numpy(labels[self._rows]).to(device)
        self._clean: Tensor | None = None

    def __call__(self, first: str, second: str) -> np.ndarray:
        """Return accuracies in %, ``[GRID, GRID]``, by severity of the first and of the second."""
        entry = PreparationCache(self._facts(first, second)) if self.cache else None
        stored = entry.load() if entry else None
        if stored is None:
            stored = {"accuracy": torch.tensor(self._measure(first, second))}
            if entry:
                entry.save(stored)
        return interpolate(stored["accuracy"].numpy())

    def _facts(self, first: str, second: str) -> dict[str, object]:
        return {
            "what": "accuracy under two corruptions",
            "pair": [first, second],
            "images": [self.dataset.clean_digest, self._rows.tolist()],
            "dataset": [type(self.dataset).name, self.dataset.provenance["frost"]],
            "seed": self.dataset.options.seed,
            "weights": self.backbone.weights_sha256,
            "preprocessing": [
                self.dataset.image_size,
                repr(self.dataset.resizing),
                *self.backbone.preprocessing,
            ],
            "arithmetic": arithmetic(self.device),
            "code": code_digest(),
        }

    def _measure(self, first: str, second: str) -> np.ndarray:
        accuracy = np.zeros((len(SEVERITIES), len(SEVERITIES)))
        cells = list(itertools.product(SEVERITIES, SEVERITIES))
        for one, other in tqdm(cells, desc=f"calibrating {first}, {second}", disable=None):
            pair = ((first, float(one)), (second, float(other)))
            step = Step(tuple((name, severity) for name, severity in pair if severity))
            accuracy[one, other] = self._accuracy(step)
        return accuracy

    @torch.no_grad()
    def _accuracy(self, step: Step) -> float:
        if self._clean is None:
            self._clean = self.dataset.clean(self._rows)
        ids = torch.from_numpy(self._rows)
        parts = (tensor.split(_BATCH) for tensor in (self._clean, ids, self._labels))
        with self.backbone.in_precision(torch.float32):
            correct = [
                self.backbone(self._images(clean, step, numbers)).argmax(1) == labels
                for clean, numbers, labels in zip(*parts, strict=True)
            ]
        return 100 * torch.cat(correct).float().mean().item()

    def _images(self, clean: Tensor, step: Step, ids: Tensor) -> Tensor:
        # Corruptions are made in float64, which MPS does not have.
        place = "cpu" if self.device.type == "mps" else self.device
        levels = self.dataset.changed(clean.to(place), step, ids)
        return to_unit_range(self.dataset.fitted(levels), self.device)


def interpolate(accuracy: np.ndarray) -> np.ndarray:
    """Return accuracies at whole severities ``[6, 6]`` at all of the grid's, ``[GRID, GRID]``."""
    grid = np.arange(GRID) / STEPS_PER_SEVERITY
    rows = np.stack([np.interp(grid, SEVERITIES, row) for row in accuracy])
    return np.stack([np.interp(grid, SEVERITIES, column) for column in rows.T], 1)


def calibrate(
    dataset: ContinuallyChanging, backbone: Backbone, device: torch.device, cache: bool = True
) -> None:
    """Lay out a CCC stream by the accuracy of ``backbone``.

    For the published difficulty that is a ResNet-50 trained on ImageNet; by another model the
    stream is another one, and its digest says so.
    """
    # In float32, whatever the run's precision: one path for all.
    with rounding(device, deterministic=torch.are_deterministic_algorithms_enabled()):
        measure = PairAccuracy(dataset, backbone, device, cache)
        dataset.calibrate(measure, backbone.weights_sha256)
