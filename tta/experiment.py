"""One run, from its configuration to its summary."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

from tta.arithmetic import arithmetic
from tta.assembly import Experiment, build
from tta.cache import KnownPreparation, PreparationCache
from tta.config import RunConfig
from tta.errors import UserError
from tta.evaluation import evaluate
from tta.parts import batch_size_of
from tta.recording import make_checkpoints, make_recorder
from tta.reporting.checkpoint import Checkpoints
from tta.reporting.finite import make_guard, nonfinite_facts
from tta.reporting.memory import PeakMemory
from tta.reporting.recorder import Recorder
from tta.reporting.run_directory import RunDirectory
from tta.reporting.saved_run import SavedRun, load_run, taking_over
from tta.reporting.stored_tables import to_csv
from tta.reporting.summary import classes_digest, environment, figures
from tta.stops import Stops, listening
from tta.text import printable


def run(config: RunConfig, progress: bool = False) -> dict[str, Any]:
    """Run one configuration to its end and return its summary.

    A finished record of the same run is returned as it is, unless ``config.force``. With
    ``config.resume`` an unfinished one goes on from its latest checkpoint, if it has one.

    Raises:
        UserError: bad input of any kind; an unfinished run with a checkpoint and neither option;
            another process that writes the same run; a finished record that was altered.
        KeyboardInterrupt: interrupted by the user; a valid partial record has been written. It is
            a :class:`~tta.stops.Stopped`, for SIGTERM too, where the main thread runs this and
            the program has no handler of its own: the batch is finished and a checkpoint saved.
    """
    with listening(say=progress) as stops:
        return run_experiment(build(config), progress, stops)


def run_experiment(
    experiment: Experiment, progress: bool = False, stops: Stops | None = None
) -> dict[str, Any]:
    """Do what :func:`run` does, with parts that are at hand; they can be run once.

    Args:
        experiment: the parts.
        progress: show it on standard error.
        stops: what is told of signals; None leaves them alone.
    """
    stops = stops or Stops()
    config, path = experiment.config, experiment.path()
    if RunDirectory.is_done(path) and not config.force:
        return _finished(path)
    with RunDirectory(path) as directory:
        if RunDirectory.is_done(path) and not config.force:  # by another process, meanwhile
            return _finished(path)
        saved = _saved(experiment, directory) if config.resume else None
        if saved is None:
            _start_over(directory, config)
            directory.write_config(experiment.resolved())
        summary = execute(experiment, directory, progress, saved, stops)
    return {**summary, "path": str(path), "reused": False}


def _finished(path: Path) -> dict[str, Any]:
    return {**RunDirectory.read_finished(path), "path": str(path), "reused": True}


def _saved(experiment: Experiment, directory: RunDirectory) -> SavedRun | None:
    starts = {start for start, _ in experiment.stream.bounds}
    return load_run(directory, experiment.prepares, starts, arithmetic(experiment.device))


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
    saved: SavedRun | None,
    stops: Stops,
) -> dict[str, Any]:
    """Prepare the method, stream the data through it, and write the records.

    Args:
        experiment: the parts of the run.
        directory: where records go.
        progress: show a progress bar.
        saved: the checkpoint to go on from.
        stops: what is told of signals; before the stream they end the run at once.
    """
    experiment.stream.warm_up()
    for warning in experiment.warnings:
        print(printable(f"warning: {warning}"), file=sys.stderr)
    memory = PeakMemory(experiment.device)
    started = time.perf_counter()
    _start(experiment, directory, saved)
    prepare_seconds = time.perf_counter() - started
    with stops.held():
        summary = _stream(experiment, directory, progress, saved, stops, memory, prepare_seconds)
    stops.obey()
    return summary


def _start(experiment: Experiment, directory: RunDirectory, saved: SavedRun | None) -> None:
    if saved is None or saved.preparation is None:
        experiment.method.start(experiment.source, preparation_cache(experiment))
        return
    with taking_over(directory):
        experiment.method.start(experiment.source, KnownPreparation(saved.preparation))


def _stream(
    experiment: Experiment,
    directory: RunDirectory,
    progress: bool,
    saved: SavedRun | None,
    stops: Stops,
    memory: PeakMemory,
    prepare_seconds: float,
) -> dict[str, Any]:
    """Stream the data through the prepared method, and write the records."""
    recorder = make_recorder(experiment, directory, progress, saved, memory)
    checkpoints = make_checkpoints(experiment, recorder, directory, saved, memory, stops)
    if saved is not None:
        with taking_over(directory):
            experiment.method.load_state_dict(saved.method)
        directory.cut_back()
        directory.write_config(experiment.resolved())
    recorder.restart_clock()
    finished = False
    try:
        with stops.streaming():
            came_to_end = _pass(experiment, recorder, checkpoints, saved)
        recorder.flush()
        recorder.judge()
        finished = came_to_end
    finally:
        recorder.close()
        if recorder.seen:
            domains = recorder.domains()
            summary = _summary(experiment, domains, recorder, checkpoints, prepare_seconds, memory)
            summary["finished"] = finished
            directory.write("domains.csv", to_csv(domains))
            recorder.save_samples(directory)
            directory.write_summary(summary)
            recorder.finish(summary)
    if finished:
        directory.mark_done()
    return summary


def _pass(
    experiment: Experiment, recorder: Recorder, checkpoints: Checkpoints, saved: SavedRun | None
) -> bool:
    """Stream what is left, and return whether that was all of it."""
    policy, method = experiment.config.on_nonfinite, experiment.method
    if policy == "stop" and recorder.diverged:  # stopped before, after the latest checkpoint
        return False
    batches = experiment.stream.batches(saved.position if saved else 0)
    guard = make_guard(policy, method.outputs, method.reset)
    return evaluate(method, batches, checkpoints, guard)


def preparation_cache(experiment: Experiment) -> PreparationCache | None:
    """Return the cache entry of what the method computes from source images, if it does."""
    source = experiment.source
    if experiment.config.no_cache or not experiment.prepares:
        return None
    facts = {
        "method": [experiment.method.name, type(experiment.adapting_method).__qualname__],
        "params": dataclasses.asdict(experiment.params),
        "seed": experiment.config.seed,
        "weights": experiment.backbone.weights_sha256,
        "source": [source.dataset.name, source.dataset.digest(), source.batch_size, source.seed],
        "preprocessing": [
            source.dataset.image_size,
            repr(source.dataset.resizing),
            *experiment.backbone.preprocessing,
        ],
        "arithmetic": [
            experiment.config.precision,
            str(source.memory_format),
            arithmetic(experiment.device),
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
        **nonfinite_facts(recorder.confidence(), experiment.stream.bounds),
        "nonfinite_weights_after": _domain_of(experiment, recorder.watch.nonfinite_weights_after()),
        "on_nonfinite": config.on_nonfinite,
        "resumed_at": checkpoints.resumed_at,
        "precision_reason": experiment.precision_reason,
        **figures(domains, experiment.method.counters, recorder.pooled_ece()),
        "cost": {
            "prepare_seconds": prepare_seconds,
            "stream_seconds": recorder.seconds,
            "checkpoint_seconds": checkpoints.seconds,
            "images_per_second": recorder.seen / recorder.seconds,
            "peak_memory_bytes": memory.bytes(),
            "memory_rise_bytes": memory.rise(),
        },
        "stream_digest": experiment.plan.digest,
        "data_digest": experiment.dataset.portable_digest(),
        "classes_digest": classes_digest(experiment.backbone.class_ids),
        "source_digest": experiment.source and experiment.source.dataset.portable_digest(),
        "data": dict(experiment.dataset.provenance),
        "understood": experiment.understood,
        "warnings": list(experiment.warnings),
        "weights_sha256": experiment.backbone.weights_sha256,
        "cloud_weights_sha256": experiment.cloud and experiment.cloud.weights_sha256,
        "fingerprint": experiment.fingerprint(),
        "code_digest": experiment.code,
        "environment": environment(experiment.device),
    }


def _domain_of(experiment: Experiment, visit: int | None) -> str | None:
    """Return the domain of a visit."""
    if visit is None:
        return None
    plan = experiment.plan
    return plan.domains[plan.domain[(plan.visit == visit).argmax()]]
