"""One run, from its configuration to its summary."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tta.config import RunConfig
from tta.experiment.assembly import build, rounding_of
from tta.experiment.built import Experiment
from tta.experiment.compiling import captured, warm_up
from tta.experiment.given import NOTHING, Given
from tta.experiment.observing.company import Company
from tta.experiment.observing.course import (
    Course,
    make_checkpoints,
    make_observer,
    make_recorder,
)
from tta.experiment.observing.estimates import Estimated
from tta.experiment.observing.recorder import Recorder
from tta.experiment.preparation import preparation_cache
from tta.experiment.saving.checkpoints import Checkpoints
from tta.experiment.saving.saved_run import SavedRun, load_run, taking_over
from tta.experiment.summary import summarise
from tta.foundation.arithmetic import arithmetic
from tta.foundation.cache import KnownPreparation
from tta.foundation.clocks import synchronize
from tta.foundation.errors import UserError
from tta.foundation.stops import Stopped, Stops, listening
from tta.foundation.text import printable
from tta.reporting.records.run_directory import RunDirectory
from tta.reporting.records.stored_tables import to_csv
from tta.streams.loop import Part, adapting, evaluate_together
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
    (end,) = run_experiments([experiment], progress, stops)
    if isinstance(end, BaseException):
        raise end
    return end


def run_experiments(
    experiments: Sequence[Experiment], progress: bool = False, stops: Stops | None = None
) -> list[dict[str, Any] | BaseException]:
    """Run several that share a stream, of which each batch is made once for all.

    Records are those of runs alone; of times and memory see
    :class:`~tta.experiment.observing.company.Company`. What one raises ends that one alone.

    Args:
        experiments: with one stream, see :func:`tta.experiment.assembly.build_several`, and
            different run directories.
        progress: show it on standard error.
        stops: what is told of signals; None leaves them alone.

    Returns:
        Of each its summary, or what it raised; that may be a KeyboardInterrupt, see :func:`run`.

    Raises:
        KeyboardInterrupt: one came after the stream.
    """
    first, stops = experiments[0], stops or Stops()
    company = Company(first.stream, [one.method_bytes for one in experiments])
    with rounding_of(first.config, first.device):
        parts = [_part(experiment, progress, stops, company) for experiment in experiments]
        ends = evaluate_together(company.batches, parts, stops)
    if all(isinstance(end, Exception | dict) for end in ends):
        stops.obey()
    return ends


def _part(experiment: Experiment, progress: bool, stops: Stops, company: Company) -> Part:
    """Take a run's part in the stream; returns its summary."""
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
            course = _prepare(experiment, directory, progress, saved, stops, company)
            summary = yield from _stream(course)
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


def _prepare(
    experiment: Experiment,
    directory: RunDirectory,
    progress: bool,
    saved: SavedRun | None,
    stops: Stops,
    company: Company,
) -> Course:
    """Prepare the method; a signal ends the run at once."""
    experiment.stream.warm_up()
    warnings = experiment.warnings  # while the model is still there to tell
    if company.runs == 0:  # the first that sees batches speaks for all
        _warn(experiment, warnings)
    _put_aside(experiment)
    memory = company.join(experiment.method_bytes)
    synchronize(experiment.device)
    started = time.perf_counter()
    _start(experiment, directory, saved)
    synchronize(experiment.device)
    seconds = time.perf_counter() - started
    memory.leave()
    compiling = warm_up(experiment)
    memory.enter()
    if not experiment.replays:
        experiment.close()
    return Course(
        experiment, directory, progress, saved, stops, memory, company, seconds, compiling
    )


def _warn(experiment: Experiment, warnings: Sequence[str]) -> None:
    for warning in warnings:
        print(printable(f"warning: {warning}"), file=sys.stderr)
    if experiment.compile_reason:
        print(printable(f"--compile: {experiment.compile_reason}; not compiled"), file=sys.stderr)


def _put_aside(experiment: Experiment) -> None:
    """Keep in host memory the models as loaded, which no method uses: it has copies."""
    for model in (experiment.backbone, experiment.cloud):
        if model is not None:
            model.to("cpu")


def _start(experiment: Experiment, directory: RunDirectory, saved: SavedRun | None) -> None:
    if saved is None or saved.preparation is None:
        experiment.method.start(experiment.source, preparation_cache(experiment))
        return
    with taking_over(directory):
        experiment.method.start(experiment.source, KnownPreparation(saved.preparation))


def _stream(course: Course) -> Part:
    """Stream the data through the prepared method, and write the records."""
    with course.stops.held():
        recorder = make_recorder(course)
        checkpoints = make_checkpoints(course, make_observer(course, recorder))
        _take_over(course)
        recorder.restart_clock()
    finished = False
    try:
        came_to_end = yield from _pass(course, recorder, checkpoints)
        with course.stops.held():
            recorder.settle()
            recorder.flush()
            recorder.judge()
        finished = came_to_end
    finally:
        with course.stops.held():
            summary = _conclude(course, recorder, checkpoints, finished)
    return summary


def _conclude(
    course: Course, recorder: Recorder, checkpoints: Checkpoints, finished: bool
) -> dict[str, Any]:
    directory, summary = course.directory, {}
    recorder.close()
    if recorder.samples.seen:
        domains = recorder.domains()
        summary = summarise(course, recorder, checkpoints, domains, finished)
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


def _pass(course: Course, recorder: Recorder, checkpoints: Checkpoints) -> Part:
    """Take what is left of the stream, and return whether that was all of it."""
    policy, method = course.experiment.config.on_nonfinite, captured(course.experiment)
    if policy == "stop" and recorder.samples.diverged:  # before, after the latest checkpoint
        return False
    reset = method.reset_method if isinstance(method, Paced) else method.reset
    estimator, adapter = recorder.estimator, method
    guard = make_guard(policy, method.outputs, reset)
    if estimator is not None:
        adapter = Estimated(method, method.predicts, estimator, recorder.apart)
        guard = make_guard(policy, method.outputs, partial(estimator.reset_by_outputs, reset))
        guard = estimator.guard(guard, reset)
    part = adapting(adapter, checkpoints, guard, course.position)
    try:
        return (yield from course.company.part(part, recorder, course.memory))
    except Stopped:
        if checkpoints.leave():
            return True
        raise
