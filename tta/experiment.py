"""One run: its parts, built from a :class:`~tta.config.RunConfig`, and its execution."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import tta
from tta.backbones import create_backbone
from tta.backbones.backbone import Backbone
from tta.config import RunConfig
from tta.datasets import Dataset, open_dataset
from tta.errors import UserError
from tta.evaluation import autocast, evaluate
from tta.methods import Method, find_method
from tta.methods.params import build_params
from tta.methods.requirements import check_needs
from tta.methods.window import SlidingWindow
from tta.presets import load_preset
from tta.reporting.recorder import Recorder
from tta.reporting.run_directory import RunDirectory, run_path
from tta.reporting.summary import environment, figures, peak_memory_bytes
from tta.scenarios import ScenarioOptions, StreamPlan, plan_stream
from tta.source import SourceData
from tta.stream import Stream


@dataclass(frozen=True)
class Experiment:
    """The parts of one run.

    Attributes:
        config: as the user gave it.
        dataset: the test data.
        plan: order of the stream.
        stream: batches in that order.
        backbone: the source model, as loaded.
        method: the adaptation method around it, not yet started.
        params: the method's resolved hyper-parameters.
        preset: where they come from, in words.
        source: source images, or None.
    """

    config: RunConfig
    dataset: Dataset
    plan: StreamPlan
    stream: Stream
    backbone: Backbone
    method: Method | SlidingWindow
    params: Any
    preset: str
    source: SourceData | None

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.stream.device

    def resolved(self) -> dict[str, Any]:
        """Return the configuration with its choices made explicit; it runs again as it is."""
        config = self.config.to_mapping()
        config.update(
            batch_size=_batch_size(self.config, self.dataset),
            set=dataclasses.asdict(self.params),
            preset="defaults",
            device=self.device.type,
            domains=list(self.plan.domains),
        )
        return config

    def fingerprint(self) -> str:
        """Return twelve hexadecimal digits that differ where figures may differ."""
        facts = {k: v for k, v in self.resolved().items() if k not in RunConfig.UNRECORDED}
        facts["stream"] = self.plan.digest
        facts["data"] = self.dataset.digest()
        facts["weights_sha256"] = self.backbone.weights_sha256
        facts["version"] = tta.__version__
        text = json.dumps(facts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def path(self) -> Path:
        """Return the run directory."""
        parts = [self.dataset.name, self.config.scenario, self.backbone.name, self.method.name]
        return run_path(self.config.output, parts, self.fingerprint())


def build(config: RunConfig) -> Experiment:
    """Make every part of a run and check that they fit, before anything is written.

    Raises:
        UserError: bad input of any kind.
    """
    method_class = find_method(config.method)
    dataset = open_dataset(config.dataset)
    params, preset = resolve_params(method_class, config, dataset)
    plan = plan_stream(config.scenario, dataset, _scenario_options(config))
    device = _device(config.device)
    backbone = _backbone(config, dataset).to(device)
    _check_classes(dataset, backbone)
    memory_format = _memory_format(config.memory_format, backbone)
    backbone.to(memory_format=memory_format)
    dataset.image_size = backbone.input_size[1:]
    dataset.check(plan.domains, tuple(sorted({int(level) for level in plan.severity})))
    batch_size = _batch_size(config, dataset)
    source = _source(config, dataset, backbone, batch_size, device, memory_format)
    check_needs(method_class, params, backbone, source is not None)
    return Experiment(
        config=config,
        dataset=dataset,
        plan=plan,
        stream=Stream(
            dataset,
            plan,
            batch_size,
            contiguous=config.contiguous_batches,
            device=device,
            memory_format=memory_format,
        ),
        backbone=backbone,
        method=_method(method_class, backbone, params, config),
        params=params,
        preset=preset,
        source=source,
    )


def run(config: RunConfig, progress: bool = False) -> dict[str, Any]:
    """Run one configuration to its end and return its summary.

    A finished record of the same run is returned as it is, unless ``config.force``.

    Raises:
        UserError: bad input of any kind.
        KeyboardInterrupt: interrupted by the user; a valid partial record has been written.
    """
    experiment = build(config)
    path = experiment.path()
    if RunDirectory.is_done(path) and not config.force:
        return {**RunDirectory.read_summary(path), "path": str(path), "reused": True}
    directory = RunDirectory(path)
    directory.write_config(experiment.resolved())
    summary = execute(experiment, directory, progress)
    return {**summary, "path": str(path), "reused": False}


def execute(experiment: Experiment, directory: RunDirectory, progress: bool) -> dict[str, Any]:
    """Prepare the method, stream the data through it, and write the records."""
    started = time.perf_counter()
    labels = experiment.stream.labels()
    with autocast(experiment.device, experiment.config.precision):
        experiment.method.start(experiment.source)
    prepare_seconds = time.perf_counter() - started
    recorder = Recorder(
        experiment.plan,
        labels,
        experiment.method.outputs,
        experiment.method.counters,
        experiment.device,
        directory,
        progress,
    )
    precision = autocast(experiment.device, experiment.config.precision)
    finished = False
    try:
        evaluate(experiment.method, experiment.stream, recorder, precision)
        finished = True
    finally:
        recorder.close()
        if recorder.seen:
            summary = _summary(experiment, recorder, prepare_seconds, finished)
            directory.write("domains.csv", recorder.domains().to_csv(index=False))
            directory.write_summary(summary)
    directory.mark_done()
    return summary


def resolve_params(method: type[Method], config: RunConfig, dataset: Dataset) -> tuple[Any, str]:
    """Return the hyper-parameters of a run and where they come from.

    ``--set`` goes over the preset, the preset over the method's defaults.
    """
    name = dataset.preset if config.preset == "auto" else config.preset
    entry: dict[str, Any] = {}
    origin = "the method's defaults"
    if name not in (None, "defaults"):
        entry = load_preset(name).get(method.name, {})
        if entry:
            origin = f"{name} ({entry['source']})"
    values = {**entry.get("params", {}), **config.set}
    if config.set:
        origin += ", with " + ", ".join(f"{key}={value}" for key, value in config.set.items())
    return build_params(method.Params, values, method.name), origin


def _scenario_options(config: RunConfig) -> ScenarioOptions:
    return ScenarioOptions(
        seed=config.seed,
        severity=config.severity,
        domains=config.domains,
        num_samples=config.num_samples,
        dirichlet=config.dirichlet,
    )


def _device(name: str) -> torch.device:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((kind for kind, there in available.items() if there), "cpu"))
    if not available.get(name, True):
        raise UserError(f"--device {name} is not available here; use --device cpu")
    return torch.device(name)


def _backbone(config: RunConfig, dataset: Dataset) -> Backbone:
    if config.backbone is None and dataset.backbone is None:
        raise UserError(
            f"dataset {dataset.name!r} has no backbone of its own; pass --backbone NAME "
            "(any timm model) and, unless timm can download its weights, --weights FILE"
        )
    if config.backbone is None:
        return create_backbone(
            dataset.backbone,
            weights=config.weights or dataset.weights,
            num_classes=config.num_classes or dataset.num_classes,
            class_subset=dataset.class_subset,
        )
    return create_backbone(
        config.backbone,
        weights=config.weights,
        num_classes=config.num_classes,
        class_subset=dataset.class_subset,
    )


def _check_classes(dataset: Dataset, backbone: Backbone) -> None:
    if dataset.num_classes > backbone.num_classes:
        raise UserError(
            f"dataset {dataset.name!r} has labels up to {dataset.num_classes - 1}, but backbone "
            f"{backbone.name!r} knows only {backbone.num_classes} classes; choose a backbone "
            "trained on these classes, or mend the labels"
        )


def _memory_format(name: str, backbone: nn.Module) -> torch.memory_format:
    convolutional = any(isinstance(module, nn.Conv2d) for module in backbone.modules())
    if name == "channels_last" or name == "auto" and convolutional:
        return torch.channels_last
    return torch.contiguous_format


def _batch_size(config: RunConfig, dataset: Dataset) -> int:
    return config.batch_size or dataset.batch_size


def _source(
    config: RunConfig,
    dataset: Dataset,
    backbone: Backbone,
    batch_size: int,
    device: torch.device,
    memory_format: torch.memory_format,
) -> SourceData | None:
    specification = config.source or dataset.source
    if specification is None:
        return None
    images = open_dataset(specification)
    images.image_size = backbone.input_size[1:]
    _check_classes(images, backbone)
    batch_size = max(batch_size, config.window)
    return SourceData(images, batch_size, config.seed, device, memory_format)


def _method(
    method: type[Method], backbone: Backbone, params: Any, config: RunConfig
) -> Method | SlidingWindow:
    # The backbone goes on as the run's record of what was loaded; the method changes a copy.
    made = method(backbone.clone(), params, seed=config.seed)
    return SlidingWindow(made, config.window) if config.window > 1 else made


def _summary(
    experiment: Experiment, recorder: Recorder, prepare_seconds: float, finished: bool
) -> dict[str, Any]:
    config = experiment.config
    method = experiment.method
    return {
        "schema": 1,
        "finished": finished,
        "method": method.name,
        "paper": method.paper,
        "predicts": method.predicts,
        "outputs": method.outputs,
        "params": dataclasses.asdict(experiment.params),
        "preset": experiment.preset,
        "dataset": experiment.dataset.name,
        "scenario": config.scenario,
        "backbone": experiment.backbone.name,
        "batch_size": _batch_size(config, experiment.dataset),
        "window": config.window,
        "seed": config.seed,
        "precision": config.precision,
        **figures(recorder.domains(), experiment.method.counters),
        "cost": {
            "prepare_seconds": prepare_seconds,
            "stream_seconds": recorder.seconds,
            "images_per_second": recorder.seen / recorder.seconds,
            "peak_memory_bytes": peak_memory_bytes(experiment.device),
        },
        "stream_digest": experiment.plan.digest,
        "data_digest": experiment.dataset.digest(),
        "weights_sha256": experiment.backbone.weights_sha256,
        "fingerprint": experiment.fingerprint(),
        "environment": environment(experiment.device),
    }
