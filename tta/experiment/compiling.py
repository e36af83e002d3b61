"""What ``--compile`` does in a run beside compiling: warming up, and graphs of whole steps."""

from __future__ import annotations

import time

import numpy as np
import torch

from tta.backbones.compilation import refusing
from tta.experiment.built import Experiment
from tta.experiment.pacing import Adapting
from tta.foundation.clocks import synchronize
from tta.methods.captured import CapturedSteps, obstacle


def warm_up(experiment: Experiment) -> float:
    """Let code be compiled that steps need: by one on noise, after which the method is reset.

    Returns:
        Seconds that it took; 0 where nothing is compiled.
    """
    if experiment.backbone.compilation is None:
        return 0.0
    started = time.perf_counter()
    _step_on_noise(experiment)
    synchronize(experiment.device)
    return time.perf_counter() - started


def _step_on_noise(experiment: Experiment) -> None:
    compilation, method = experiment.backbone.compilation, experiment.adapting_method
    stream, backbone = experiment.stream, experiment.backbone
    generator = torch.Generator().manual_seed(0)
    decoded = method.decoded
    shape = stream.images(np.zeros(1, np.int64)).shape[1:]  # not always the network's own size
    with backbone.passes.paused(), refusing(backbone.name):
        for size in compilation.batch_sizes:
            images = torch.rand(size, *shape, generator=generator)
            method.decoded = (images * 255).byte().unbind
            images = images.to(stream.device, memory_format=stream.memory_format)
            method.step(images)
            if _predicts(experiment):
                method.predict(images)
    method.decoded = decoded
    method.reset()


def _predicts(experiment: Experiment) -> bool:
    """Return whether batches are predicted apart from steps."""
    paced = experiment.method is not experiment.adapting_method
    return paced or bool(experiment.config.evidence or experiment.config.estimate)


def captured(experiment: Experiment) -> Adapting | CapturedSteps:
    """Return what takes the steps of a prepared method: itself, or a graph of its step."""
    if capture_obstacle(experiment) is not None:
        return experiment.method
    return CapturedSteps(experiment.adapting_method, experiment.backbone.compilation.batch_sizes)


def capture_obstacle(experiment: Experiment) -> str | None:
    """Return why steps are not captured as CUDA graphs, or None."""
    if experiment.backbone.compilation is None:
        return "not compiled"
    if experiment.method is not experiment.adapting_method:
        return "not every batch is a step"
    if experiment.config.precision == "fp16":
        return "float16 scales losses as steps go"
    return obstacle(type(experiment.adapting_method), experiment.device)
