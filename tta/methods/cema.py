"""CEMA: cloud-edge elastic model adaptation."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tta.backbones.backbone import Backbone
from tta.methods.base import Method, Need
from tta.methods.cema_cloud import CemaCloud, CemaCloudParams, adapt_statistics
from tta.methods.cloud import Link, LinkParams, to_bytes
from tta.methods.params import param
from tta.ops.losses import entropy
from tta.ops.norm.renorm import running_statistics, set_statistics
from tta.ops.parameters import norm_affine_parameters
from tta.ops.selection import entropy_margin, not_redundant, update_mean_probabilities

ALWAYS_REFRESHED = 9
"""Batches at the start after each of which the edge is refreshed, whatever the interval."""


class CloudEdgeModelAdaptation(Method):
    """An edge model that only predicts, adapted by a larger model in the cloud (ICLR 2024).

    The edge uploads images that are neither unreliable (entropy above a dynamic threshold) nor
    low-informative (entropy below another) nor, optionally, redundant. The cloud adapts its
    foundation model to them and distils it into the affine parameters of norm layers, which
    travel back. Outputs are the edge's, with the parameters that have arrived by then.

    Deciding what to upload waits for the device once per batch: the images leave it.
    """

    name = "cema"
    second_model = "second, larger model in the cloud"
    paper = "Chen et al., Towards robust and efficient cloud-edge elastic model adaptation, 2024"
    state = (
        "parameters",
        "running_statistics",
        "iteration",
        "seen",
        "uploaded",
        "mean_entropy",
        "warm_up_entropy",
        "mean_probabilities",
        "uplink",
        "downlink",
        "cloud",
    )
    counters = (
        "uploads",
        "uplink_bytes",
        "downlink_bytes",
        "refreshes",
        "foundation_steps",
        "edge_steps",
    )

    @dataclass(frozen=True)
    class Params(CemaCloudParams, LinkParams):
        """Hyper-parameters; the defaults are the paper's rules with plain batch statistics."""

        exclude_unreliable: bool = param(True, "upload only below the upper entropy threshold")
        threshold_coefficient: float = param(
            1.0, "lambda: factor of the dynamic threshold", minimum=0.0
        )
        warm_up_samples: int | None = param(
            640, "images before the threshold is dynamic; null: never", unit="images", minimum=1
        )
        low_margin: float | None = param(
            0.02, "lower entropy threshold, as a fraction of ln C; null: none", minimum=0.0
        )
        redundancy_margin: float | None = param(
            None, "upload where |cos| to the mean prediction is below; null: all", minimum=0.0
        )
        refresh_interval: int = param(1, "batches between refreshes", unit="batches", minimum=1)

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.NORM_AFFINE, Need.CLOUD_MODEL})

    def configure(self) -> None:
        self.layers = adapt_statistics(self.backbone, self.params.statistics)
        self.running_statistics = running_statistics(self.layers)
        self.parameters = norm_affine_parameters(self.backbone)
        self.margin = entropy_margin(self.params.high_margin, self.backbone.num_classes)
        self.iteration = self.seen = self.uploaded = 0
        some = self.parameters[0]
        self.mean_entropy, self.warm_up_entropy = some.new_zeros(()), some.new_zeros(())
        self.mean_probabilities = some.new_zeros(self.backbone.num_classes)
        self.counted = some.new_zeros(len(self.counters), 1)
        if self.params.statistics == "renorm":
            warnings.warn(
                "cema with statistics=renorm forgets the source statistics and moves on only with "
                "what is uploaded: on a continual stream with few uploads the edge keeps the "
                "first domain's statistics; statistics=batch does not",
                stacklevel=3,
            )

    def attach_model(self, model: Backbone) -> None:
        self.cloud = CemaCloud(model, self.backbone, self.params, self.margin, self.generator)
        self.uplink = Link(self.params.link_latency, self.params.link_bandwidth)
        self.downlink = Link(self.params.link_latency, self.params.link_bandwidth)

    def step(self, images: Tensor) -> Tensor:
        before = self._totals()
        self.iteration += 1
        self._exchange()
        logits = self._infer(images)
        kept = self._within_budget(self.worth_uploading(logits))
        self._upload(images, kept)
        self._exchange()
        if self.cloud.edge_steps == before[-1]:
            self.cloud.rehearse()
        self._refresh(self.clock)
        self._exchange()
        self._note_cost(images, kept, before)
        return logits

    @property
    def clock(self) -> float:
        """Simulated time of the latest batch, seconds."""
        return self.iteration * self.params.batch_interval

    @torch.no_grad()
    def _infer(self, images: Tensor) -> Tensor:
        set_statistics(self.layers, "adopt" if self.iteration == 1 else "use")
        logits = self.backbone(images)
        set_statistics(self.layers, "use")
        return logits

    @torch.no_grad()
    def worth_uploading(self, logits: Tensor) -> Tensor:
        """Return a mask ``[B]`` of the images to upload, judged by the edge's ``logits``."""
        entropies = entropy(logits)
        threshold = self._dynamic_threshold(entropies)
        kept = torch.ones_like(entropies, dtype=torch.bool)
        if self.params.exclude_unreliable:
            kept &= entropies < threshold
        if self.params.low_margin is not None:
            kept &= entropies > entropy_margin(self.params.low_margin, logits.shape[1])
        if self.params.redundancy_margin is not None:
            p = logits.softmax(1)
            kept &= not_redundant(p, self.mean_probabilities, self.params.redundancy_margin)
            self.mean_probabilities = update_mean_probabilities(self.mean_probabilities, p, kept)
        return kept

    def _dynamic_threshold(self, entropies: Tensor) -> Tensor | float:
        """Return E_max, scaled after the warm-up with the mean entropy of all images seen."""
        warm_up = self.params.warm_up_samples
        warm = warm_up is not None and self.seen >= warm_up
        self.seen += len(entropies)
        entropies = torch.where(entropies.isfinite(), entropies, self.mean_entropy)
        self.mean_entropy += (entropies.mean() - self.mean_entropy) * (len(entropies) / self.seen)
        if warm_up is None or self.seen < warm_up:
            return self.margin
        if not warm:
            self.warm_up_entropy.copy_(self.mean_entropy)
        tiny = torch.finfo(entropies.dtype).tiny
        drift = self.mean_entropy / self.warm_up_entropy.clamp_min(tiny)
        return self.margin * self.params.threshold_coefficient * drift

    def _within_budget(self, kept: Tensor) -> Tensor:
        """Keep the first images of the batch that the budget, so far, leaves room for."""
        room = math.floor(self.params.upload_budget * self.seen + 1e-9) - self.uploaded
        return kept & (kept.cumsum(0) <= room)

    def _upload(self, images: Tensor, kept: Tensor) -> None:
        chosen = to_bytes(images[kept])
        if len(chosen):
            # The cloud's copy starts, as the edge did, from the statistics of the first batch.
            statistics = [] if self.uploaded else self.running_statistics
            self.uplink.send(self.clock, [chosen, *statistics])
            self.uploaded += len(chosen)

    def _exchange(self) -> None:
        """Let both sides take what has arrived, at the time when it did."""
        for time, (images, *statistics) in self.uplink.receive(self.clock):
            self.cloud.receive(images, statistics)
            self._refresh(time)
        for _, tensors in self.downlink.receive(self.clock):
            with torch.no_grad():
                torch._foreach_copy_([*self.parameters, *self.running_statistics], tensors)

    def _refresh(self, time: float) -> None:
        due = self.iteration <= ALWAYS_REFRESHED
        due = due or self.iteration % self.params.refresh_interval == 0
        if due and self.cloud.edge_changed:
            self.downlink.send(time, self.cloud.edge_tensors)
            self.cloud.edge_changed = False

    def _totals(self) -> tuple[int, ...]:
        cloud = self.cloud
        messages = (self.uplink.bytes, self.downlink.bytes, self.downlink.messages)
        return (self.uploaded, *messages, cloud.foundation_steps, cloud.edge_steps)

    def _note_cost(self, images: Tensor, kept: Tensor, before: tuple[int, ...]) -> None:
        """Charge each upload to its image, and what the whole batch caused to its last image."""
        spent = [now - then for now, then in zip(self._totals(), before, strict=True)]
        image_bytes = images[0].numel()
        rest = [0, spent[1] - spent[0] * image_bytes, *spent[2:]]
        self.counted = kept.new_zeros(len(self.counters), len(kept), dtype=torch.float32)
        self.counted[:2] = torch.stack([kept, kept * image_bytes])
        for counter, number in zip(self.counted, rest, strict=True):
            counter[-1] += number  # a number goes along with the call; a list would be waited for

    def count(self) -> Tensor:
        return self.counted
