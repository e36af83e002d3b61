"""One run, from its configuration to its summary."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from tta.config import RunConfig
from tta.experiment.assembly import build, rounding_of
from tta.experiment.built import Experiment
from tta.experiment.compiling import captured, warm_up
from tta.experiment.given import NOTHING, Given
from tta.experiment.observing.course import (
    Course,
    make_checkpoints,
    make_observer,
    make_recorder,
)
from tta.experiment.observing.estimates import Estimated
from tta.experiment.observing.memory import PeakMemory
from tta.experiment.observing.recorder import Recorder
from tta.experiment.saving.checkpoints import Checkpoints
from tta.experiment.saving.saved_run import SavedRun, load_run, taking_over
from tta.experiment.summary import summarise
from tta.foundation.arithmetic import arithmetic
from tta.foundation.cache import KnownPreparation, PreparationCache
from tta.foundation.clocks import synchronize
from tta.foundation.errors import UserError
from tta.foundation.stops import Stops, listening
from tta.foundation.text import printable
from tta.reporting.records.run_directory import RunDirectory
from tta.reporting.records.stored_tables import to_csv
from tta.streams.loop import evaluate
from tta.streams.pacing.paced import Paced
from tta.tasks.finite import make_guard


def run(config: RunConfig, progress: bool = False, given: Given = NOTHING) -> dict[str, Any]:
    """Run one configuration to its end and return its summary.

    A finished record of the same run is returned as it is, unless ``config.force``. With
    ``config.resume`` an unfinished one goes on from its latest checkpoint, if it has one.

    Args:
        config: of the run.
        progress: show it on standard error.
        given: parts in place of those that ``config`` names.

    Raises:
        UserError: bad input of any kind; an unfinished run with a checkpoint and neither option;
            another process that writes the same run; a finished record that was altered.
        KeyboardInterrupt: interrupted by the user; a valid partial record has been written. It is
            a :class:`~tta.foundation.stops.Stopped`, for SIGTERM too, where the main thread runs
            this and the program has no handler of its own: the batch is finished and a checkpoint
            saved.
    """
    with listening(say=progress) as stops:
        return run_experiment(build(config, given=given), progress, stops)


def run_experiment(
    experiment: Experiment, progress: bool = False, stops: Stops | None = None
) -> dict[str, Any]:
    """Do what :func:`run` does, with parts that are at hand; they can be run once.

    Args:
        experiment: the parts.
        progress: show it on standard error.
        stops: what is told of signals; None leaves them alone.
    """
    with rounding_of(experiment.config, experiment.device):
        return _run_experiment(experiment, progress, stops or Stops())


def _run_experiment(experiment: Experiment, progress: bool, stops: Stops) -> dict[str, Any]:
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
        with contextlib.closing(experiment):
            summary = execute(experiment, directory, progress, saved, stops)
    return {**summary, "path": str(path), "reused": False}


def _finished(path: Path) -> dict[str, Any]:
    return {**RunDirectory.read_finished(path), "path": str(path), "reused": True}


def _saved(experiment: Experiment, directory: RunDirectory) -> SavedRun | None:
    starts = experiment.stream.edges[:-1]
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
        progress: show it on standard error.
        saved: the checkpoint to go on from.
        stops: what is told of signals; before the stream they end the run at once.
    """
    experiment.stream.warm_up()
    for warning in experiment.warnings:
        print(printable(f"warning: {warning}"), file=sys.stderr)
    if experiment.compile_reason:
        print(printable(f"--compile: {experiment.compile_reason}; not compiled"), file=sys.stderr)
    _put_aside(experiment)
    memory = PeakMemory(experiment.device, experiment.method_bytes)
    course = Course(experiment, directory, progress, saved, stops, memory)
    synchronize(experiment.device)
    started = time.perf_counter()
    _start(course)
    synchronize(experiment.device)
    prepare_seconds = time.perf_counter() - started
    warm_up(experiment)
    if not experiment.replays:
        experiment.close()
    with stops.held():
        summary = _stream(course, prepare_seconds)
    stops.obey()
    return summary


def _put_aside(experiment: Experiment) -> None:
    """Keep in host memory the models as loaded, which no method uses: it has copies."""
    for model in (experiment.backbone, experiment.cloud):
        if model is not None:
            model.to("cpu")


def _start(course: Course) -> None:
    experiment, saved = course.experiment, course.saved
    if saved is None or saved.preparation is None:
        experiment.method.start(experiment.source, preparation_cache(experiment))
        return
    with taking_over(course.directory):
        experiment.method.start(experiment.source, KnownPreparation(saved.preparation))


def _stream(course: Course, prepare_seconds: float) -> dict[str, Any]:
    """Stream the data through the prepared method, and write the records."""
    directory, recorder = course.directory, make_recorder(course)
    observer = make_observer(course, recorder)
    checkpoints = make_checkpoints(course, observer)
    _take_over(course)
    recorder.restart_clock()
    finished = False
    try:
        with course.stops.streaming():
            came_to_end = _pass(course, recorder, checkpoints)
        recorder.settle()
        recorder.flush()
        recorder.judge()
        finished = came_to_end
    finally:
        recorder.close()
        if recorder.samples.seen:
            domains = recorder.domains()
            summary = summarise(course, recorder, checkpoints, domains, prepare_seconds, finished)
            directory.write("domains.csv", to_csv(domains))
            recorder.samples.save(directory)
            directory.write_summary(summary)
            recorder.finish(summary)
    if finished:
        directory.mark_done()
    return summary


def _take_over(course: Course) -> None:
    """Bring method and tables to where the checkpoint left them, where there is one."""
    experiment, directory = course.experiment, course.directory
    if course.saved is not None:
        with taking_over(directory):
            experiment.method.load_state_dict(course.saved.method)
        directory.cut_back()
        directory.write_config(experiment.resolved())


def _pass(course: Course, recorder: Recorder, checkpoints: Checkpoints) -> bool:
    """Stream what is left, and return whether that was all of it."""
    policy, method = course.experiment.config.on_nonfinite, captured(course.experiment)
    if policy == "stop" and recorder.samples.diverged:  # before, after the latest checkpoint
        return False
    batches = course.experiment.stream.batches(course.position)
    reset = method.reset_method if isinstance(method, Paced) else method.reset
    estimator = recorder.estimator
    if estimator is None:
        guard = make_guard(policy, method.outputs, reset)
        return evaluate(method, batches, checkpoints, guard)
    estimated = Estimated(method, method.predicts, estimator, recorder.apart)
    guard = make_guard(policy, method.outputs, partial(estimator.reset_by_outputs, reset))
    return evaluate(estimated, batches, checkpoints, estimator.guard(guard, reset))


def preparation_cache(experiment: Experiment) -> PreparationCache | None:
    """Return the cache entry of what the method computes from source images, if it does."""
    source = experiment.source
    if experiment.config.no_cache or not experiment.prepares:
        return None
    facts = {
        "method": [experiment.method.name, type(experiment.adapting_method).__qualname__],
        "params": dataclasses.asdict(experiment.params),
        "seed": experiment.config.seed,
        "weights": [experiment.backbone.weights_sha256, experiment.model_digest],
        "source": [source.dataset.name, source.dataset.digest(), source.batch_size, source.seed],
        "preprocessing": [
            source.dataset.image_size,
            repr(source.dataset.resizing),
            *experiment.backbone.preprocessing,
        ],
        "arithmetic": [
            experiment.config.precision,
            experiment.config.compile,
            str(source.memory_format),
            arithmetic(experiment.device),
        ],
        "code": experiment.code,
    }
    return PreparationCache(facts)
