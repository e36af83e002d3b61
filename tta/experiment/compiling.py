"""What ``--compile`` does in a run beside compiling: warming up, and graphs of whole steps."""

from __future__ import annotations

import torch

from tta.backbones.compilation import refusing
from tta.experiment.built import Experiment
from tta.experiment.pacing import Adapting
from tta.methods.captured import CapturedSteps, obstacle


def warm_up(experiment: Experiment) -> None:
    """Let code be compiled that steps need: by one on noise, after which the method is reset."""
    compilation, method = experiment.backbone.compilation, experiment.adapting_method
    if compilation is None:
        return
    stream, backbone = experiment.stream, experiment.backbone
    generator = torch.Generator().manual_seed(0)
    decoded = method.decoded
    with backbone.passes.paused(), refusing(backbone.name):
        for size in compilation.batch_sizes:
            images = torch.rand(size, *backbone.input_size, generator=generator)
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
