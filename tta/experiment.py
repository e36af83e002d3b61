"""One run: its parts, built from a :class:`~tta.config.RunConfig`, and its execution."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from tta.backbones.backbone import Backbone
from tta.cache import KnownPreparation, Preparation, PreparationCache, code_digest
from tta.calibration import calibrate
from tta.config import RunConfig
from tta.datasets import Dataset
from tta.datasets.ccc import ContinuallyChanging
from tta.errors import UserError
from tta.evaluation import evaluate
from tta.methods import Method, Need, find_method
from tta.methods.requirements import SOURCE_NEEDS, check_needs
from tta.methods.window import SlidingWindow
from tta.parts import (
    batch_size_of,
    check_classes,
    choose_device,
    choose_memory_format,
    choose_workers,
    fit_images,
    make_backbone,
    make_cloud,
    make_method,
    make_source,
    open_test_data,
    resolve_params,
    scenario_options,
)
from tta.precision import PRECISIONS, choose_precision
from tta.recording import make_checkpoints, make_recorder
from tta.reporting.checkpoint import Checkpoints, SavedRun, load_run
from tta.reporting.memory import PeakMemory
from tta.reporting.recorder import Recorder
from tta.reporting.run_directory import RunDirectory, run_path
from tta.reporting.summary import environment, figures
from tta.reporting.trackers import require_tracker
from tta.scenarios import StreamPlan, plan_stream
from tta.source import SourceData
from tta.stream import Stream


@dataclass(frozen=True)
class Experiment:
    """The parts of one run.

    Attributes:
        config: as the user gave it, but for a precision that was left open.
        dataset: the test data.
        plan: order of the stream.
        stream: batches in that order.
        backbone: the source model, as loaded.
        cloud: the cloud's model of edge-cloud methods, as loaded, or None.
        method: the adaptation method around it, not yet started.
        params: the method's resolved hyper-parameters.
        preset: where they come from, in words.
        source: source images, or None where the method needs none.
        precision_reason: why ``--precision auto`` picked what it did; None where it was given.
    """

    config: RunConfig
    dataset: Dataset
    plan: StreamPlan
    stream: Stream
    backbone: Backbone
    cloud: Backbone | None
    method: Method | SlidingWindow
    params: Any
    preset: str
    source: SourceData | None
    precision_reason: str | None

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.stream.device

    @property
    def adapting_method(self) -> Method:
        """The method itself, without the window around it."""
        return self.method.method if isinstance(self.method, SlidingWindow) else self.method

    @property
    def prepares(self) -> bool:
        """Whether the method computes something from source images before the stream."""
        needs = type(self.adapting_method).needs(self.params)
        return self.source is not None and Need.SOURCE_AT_PREPARE in needs

    @property
    def method_file(self) -> str:
        """Where the method's class is written."""
        return inspect.getfile(type(self.adapting_method))

    @cached_property
    def code(self) -> str:
        """Digest of this package's code and the method's, as it was when first asked for."""
        return code_digest(self.method_file)

    def resolved(self) -> dict[str, Any]:
        """Return the configuration with its choices made explicit; it runs again as it is."""
        config = self.config.to_mapping()
        config.update(
            batch_size=batch_size_of(self.config, self.dataset),
            set=dataclasses.asdict(self.params),
            preset="defaults",
            device=self.device.type,
            domains=list(self.plan.domains),
            force=False,
            resume=False,
        )
        return config

    def fingerprint(self) -> str:
        """Return twelve hexadecimal digits that differ where figures may differ."""
        facts = {k: v for k, v in self.resolved().items() if k not in RunConfig.UNRECORDED}
        facts["stream"] = self.plan.digest
        facts["data"] = self.dataset.digest()
        facts["weights_sha256"] = self.backbone.weights_sha256
        facts["source"] = self.source and self.source.dataset.digest()
        facts["cloud_weights_sha256"] = self.cloud and self.cloud.weights_sha256
        facts["code"] = self.code
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
    require_tracker(config.track)
    method_class = find_method(config.method)
    dataset = open_test_data(config)
    params, preset = resolve_params(method_class, config, dataset)
    plan = plan_stream(config.scenario, dataset, scenario_options(config))
    device = choose_device(config.device)
    backbone = make_backbone(config, dataset).to(device)
    check_classes(dataset, backbone)
    memory_format = choose_memory_format(config.memory_format, backbone)
    backbone.to(memory_format=memory_format)
    fit_images(config, dataset, backbone)
    dataset.check(plan.domains, tuple(sorted({int(level) for level in plan.severity})))
    batch_size = batch_size_of(config, dataset)
    precision, precision_reason = choose_precision(
        config.precision, backbone, batch_size, memory_format
    )
    config = dataclasses.replace(config, precision=precision)
    backbone.precision = PRECISIONS[precision]
    needs = method_class.needs(params)
    source = None
    if needs & SOURCE_NEEDS:  # opened for no other method: it may be large, or not on this machine
        source = make_source(config, dataset, backbone, batch_size, device, memory_format)
    cloud = make_cloud(config, dataset) if Need.CLOUD_MODEL in needs else None
    if cloud is not None:
        cloud.to(device, memory_format=memory_format)
        cloud.precision = backbone.precision
    check_needs(method_class, params, backbone, source is not None, cloud)
    if isinstance(dataset, ContinuallyChanging):
        calibrate(dataset, backbone, device, cache=not config.no_cache)
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
            workers=choose_workers(config, dataset, device),
        ),
        backbone=backbone,
        cloud=cloud,
        method=make_method(method_class, backbone, cloud, params, config),
        params=params,
        preset=preset,
        source=source,
        precision_reason=precision_reason,
    )


def run(config: RunConfig, progress: bool = False) -> dict[str, Any]:
    """Run one configuration to its end and return its summary.

    A finished record of the same run is returned as it is, unless ``config.force``. With
    ``config.resume`` an unfinished one goes on from its latest checkpoint, if it has one.

    Raises:
        UserError: bad input of any kind; an unfinished run with a checkpoint and neither option;
            another process that writes the same run.
        KeyboardInterrupt: interrupted by the user; a valid partial record has been written.
    """
    return run_experiment(build(config), progress)


def run_experiment(experiment: Experiment, progress: bool = False) -> dict[str, Any]:
    """Do what :func:`run` does, with parts that are at hand; they can be run once."""
    config, path = experiment.config, experiment.path()
    if RunDirectory.is_done(path) and not config.force:
        return _finished(path)
    with RunDirectory(path) as directory:
        if RunDirectory.is_done(path) and not config.force:  # by another process, meanwhile
            return _finished(path)
        saved = load_run(directory, experiment.prepares) if config.resume else None
        if saved is None:
            _start_over(directory, config)
        directory.write_config(experiment.resolved())
        summary = execute(experiment, directory, progress, saved)
    return {**summary, "path": str(path), "reused": False}


def _finished(path: Path) -> dict[str, Any]:
    return {**RunDirectory.read_summary(path), "path": str(path), "reused": True}


def _start_over(directory: RunDirectory, config: RunConfig) -> None:
    if directory.has_state() and not config.force:
        raise UserError(
            f"{str(directory.path)!r} holds an unfinished run with a checkpoint; pass --resume to "
            "go on with it, or --force to start over"
        )
    directory.start_over()


def execute(
    experiment: Experiment,
    directory: RunDirectory,
    progress: bool,
    saved: SavedRun | None = None,
) -> dict[str, Any]:
    """Prepare the method, stream the data through it, and write the records.

    Args:
        experiment: the parts of the run.
        directory: where records go.
        progress: show a progress bar.
        saved: the checkpoint to go on from.
    """
    memory = PeakMemory(experiment.device)
    started = time.perf_counter()
    experiment.method.start(experiment.source, _preparation(experiment, saved))
    prepare_seconds = time.perf_counter() - started
    recorder = make_recorder(experiment, directory, progress, saved, memory)
    checkpoints = make_checkpoints(experiment, recorder, directory, saved, memory)
    if saved is not None:
        experiment.method.load_state_dict(saved.method)
        directory.cut_back(saved.sizes)
    batches = experiment.stream.batches(saved.position if saved else 0)
    recorder.restart_clock()
    finished = False
    try:
        evaluate(experiment.method, batches, checkpoints)
        recorder.flush()
        recorder.judge()
        finished = True
    finally:
        recorder.close()
        if recorder.seen:
            domains = recorder.domains()
            summary = _summary(experiment, domains, recorder, checkpoints, prepare_seconds, memory)
            summary["finished"] = finished
            directory.write("domains.csv", domains.to_csv(index=False))
            recorder.save_samples(directory)
            directory.write_summary(summary)
            recorder.finish(summary)
    directory.mark_done()
    return summary


def _preparation(experiment: Experiment, saved: SavedRun | None) -> Preparation | None:
    if saved is not None and saved.preparation is not None:
        return KnownPreparation(saved.preparation)
    return preparation_cache(experiment)


def preparation_cache(experiment: Experiment) -> PreparationCache | None:
    """Return the cache entry of what the method computes from source images, if it does."""
    source = experiment.source
    if experiment.config.no_cache or not experiment.prepares:
        return None
    facts = {
        "method": experiment.method.name,
        "params": dataclasses.asdict(experiment.params),
        "seed": experiment.config.seed,
        "weights": experiment.backbone.weights_sha256,
        "source": [source.dataset.name, source.dataset.digest(), source.batch_size, source.seed],
        "preprocessing": [
            source.dataset.image_size,
            experiment.backbone.mean.tolist(),
            experiment.backbone.std.tolist(),
        ],
        "arithmetic": [
            experiment.config.precision,
            str(source.memory_format),
            experiment.device.type,
            torch.__version__,
        ],
        "code": experiment.code,
    }
    return PreparationCache(facts)


def _summary(
    experiment: Experiment,
    domains: pd.DataFrame,
    recorder: Recorder,
    checkpoints: Checkpoints,
    prepare_seconds: float,
    memory: PeakMemory,
) -> dict[str, Any]:
    config = experiment.config
    method = experiment.method
    return {
        "schema": 1,
        "finished": False,
        "method": method.name,
        "title": method.title or method.name,
        "paper": method.paper,
        "predicts": method.predicts,
        "outputs": method.outputs,
        "needs": sorted(
            need.value for need in type(experiment.adapting_method).needs(experiment.params)
        ),
        "params": dataclasses.asdict(experiment.params),
        "preset": experiment.preset,
        "dataset": experiment.dataset.name,
        "scenario": config.scenario,
        "backbone": experiment.backbone.name,
        "cloud_backbone": experiment.cloud and experiment.cloud.name,
        "batch_size": batch_size_of(config, experiment.dataset),
        "window": config.window,
        "seed": config.seed,
        "precision": config.precision,
        "resets": int(experiment.plan.reset_before.sum()),
        "collapsed_at_batch": recorder.watch.batch,
        "collapsed_at_image": recorder.watch.collapsed_at,
        "resumed_at": checkpoints.resumed_at,
        "precision_reason": experiment.precision_reason,
        **figures(domains, experiment.method.counters),
        "cost": {
            "prepare_seconds": prepare_seconds,
            "stream_seconds": recorder.seconds,
            "checkpoint_seconds": checkpoints.seconds,
            "images_per_second": recorder.seen / recorder.seconds,
            "peak_memory_bytes": memory.bytes(),
            "memory_rise_bytes": memory.rise(),
        },
        "stream_digest": experiment.plan.digest,
        "data_digest": experiment.dataset.digest(),
        "data": dict(experiment.dataset.provenance),
        "weights_sha256": experiment.backbone.weights_sha256,
        "cloud_weights_sha256": experiment.cloud and experiment.cloud.weights_sha256,
        "fingerprint": experiment.fingerprint(),
        "code_digest": experiment.code,
        "environment": environment(experiment.device),
    }
