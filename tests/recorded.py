"""The recorded real CIFAR-10-C stream, run through the product as its users run it."""

from __future__ import annotations

import json

import numpy as np
import torch

from tests.assets import asset
from tta.config import RunConfig
from tta.experiment import build
from tta.experiment.figures import figures
from tta.experiment.observing.recorder import Recorder
from tta.streams.loop import evaluate


class KeepOutputs(Recorder):
    """Records figures and keeps every output."""

    kept: list

    def update(self, batch, outputs, counted=None):
        self.__dict__.setdefault("kept", []).append(outputs.float().cpu())
        super().update(batch, outputs, counted)


def recorded_config(method: str, **options) -> RunConfig:
    values = {
        "method": method,
        "dataset": f"arrays:{asset('reference', 'cifar10c-visible.npz')}",
        "source": f"arrays:{asset('data', 'cifar10', 'train4k.npz')}",
        "scenario": "recorded",
        "backbone": "cifar_resnet20",
        "weights": str(asset("weights", "resnet20-12fca82f.th")),
        "batch_size": 200,
        "memory_format": "channels_last",  # as the authors' code ran: their arrays are NHWC
        "device": "cpu",
    }
    return RunConfig(**{**values, **options})


def run_recorded(method: str, **options) -> tuple[dict, np.ndarray]:
    """Return the figures of a run and its outputs ``[15000, 10]``."""
    experiment = build(recorded_config(method, **options))
    experiment.method.start(experiment.source)
    method = experiment.method
    recorder = KeepOutputs(
        experiment.plan, experiment.stream.labels(), method.outputs, method.counters
    )
    evaluate(experiment.method, experiment.stream, recorder)
    recorder.close()
    return figures(recorder.domains(), method.counters), torch.cat(recorder.kept).numpy()


def reference(method: str) -> tuple[dict, np.ndarray]:
    """Return the authors' figures for a method and their outputs."""
    entries = json.loads(asset("reference", "figures.json").read_text())
    figure = next(entry for entry in entries if entry["method"] == method)
    with np.load(asset("reference", "logits.npz")) as logits:
        return figure, logits[method] if method in logits.files else np.empty(0)
