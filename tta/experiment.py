"""One run, from its configuration to its summary."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from tta.assembly import Experiment, build
from tta.cache import KnownPreparation, Preparation, PreparationCache
from tta.config import RunConfig
from tta.errors import UserError
from tta.evaluation import evaluate
from tta.parts import batch_size_of
from tta.recording import make_checkpoints, make_recorder
from tta.reporting.checkpoint import Checkpoints, SavedRun, load_run
from tta.reporting.memory import PeakMemory
from tta.reporting.recorder import Recorder
from tta.reporting.run_directory import RunDirectory
from tta.reporting.summary import environment, figures


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
    experiment.stream.warm_up()
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
            repr(source.dataset.resizing),
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
        "understood": experiment.understood,
        "weights_sha256": experiment.backbone.weights_sha256,
        "cloud_weights_sha256": experiment.cloud and experiment.cloud.weights_sha256,
        "fingerprint": experiment.fingerprint(),
        "code_digest": experiment.code,
        "environment": environment(experiment.device),
    }
