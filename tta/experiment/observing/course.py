"""A run under way, and what watches it: recorder, collapse watch, tracker and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from tta.experiment.built import Experiment
from tta.experiment.observing.collapse import CollapseWatch
from tta.experiment.observing.company import Company
from tta.experiment.observing.estimate_table import EstimateTable
from tta.experiment.observing.estimates import Estimator
from tta.experiment.observing.evidence import Evidence
from tta.experiment.observing.judging import MapJudge
from tta.experiment.observing.map_collapse import MapCollapseWatch
from tta.experiment.observing.map_table import MapTable
from tta.experiment.observing.memory import PeakMemory
from tta.experiment.observing.probe import Probe, ProbedRecorder
from tta.experiment.observing.recorder import MapParts, Recorder
from tta.experiment.observing.trackers import open_tracker
from tta.experiment.saving.checkpoints import Checkpoints, saved_bytes
from tta.experiment.saving.saved_run import SavedRun, taking_over
from tta.foundation.arithmetic import arithmetic
from tta.foundation.stops import Stops
from tta.reporting.records.run_directory import RunDirectory
from tta.streams import StreamPlan
from tta.tasks.aetta import ResetRule
from tta.tasks.dense_metrics import pixel_metrics
from tta.tasks.task import SEGMENTATION

MOST_PICTURED = 16
"""Visits to domains of which an image is kept with what was predicted."""


@dataclass(frozen=True)
class Course:
    """A run under way.

    Attributes:
        experiment: the parts of the run.
        directory: where records go.
        progress: whether it is shown on standard error.
        saved: the checkpoint that it goes on from, or None.
        stops: what is told of signals.
        memory: what the run takes at its peak.
        company: the runs that it shares its stream with.
        prepare_seconds: that the method took before the stream.
        compile_seconds: that ``--compile`` took there.
    """

    experiment: Experiment
    directory: RunDirectory
    progress: bool
    saved: SavedRun | None
    stops: Stops
    memory: PeakMemory
    company: Company
    prepare_seconds: float
    compile_seconds: float

    @property
    def position(self) -> int:
        """Of the first image to be streamed."""
        return self.saved.position if self.saved else 0


def make_recorder(course: Course) -> Recorder:
    """Return the recorder of a run whose method is prepared."""
    experiment, directory = course.experiment, course.directory
    track, options = experiment.config.track, experiment.resolved()
    labels, watch = experiment.stream.labels(), None
    if experiment.task is SEGMENTATION:
        watch = _map_watch(experiment, course.memory)
    recorder = Recorder(
        experiment.plan,
        labels,
        experiment.method.outputs,
        experiment.method.counters,
        experiment.device,
        directory,
        course.progress,
        encoded_bytes=experiment.stream.encoded_bytes,
        passes=experiment.backbone.passes,
        watch=watch or _watch(experiment, labels, course.memory),
        tracker=open_tracker(track, directory.path, options, course.position),
        score=experiment.score,
        evidence=_evidence(experiment),
        estimator=_estimator(experiment),
        label=experiment.method.name if course.company.is_several else "",
        maps=_maps(experiment),
    )
    if isinstance(watch, MapCollapseWatch) and isinstance(recorder.samples, MapTable):
        watch.matrices = recorder.samples.matrices
    return recorder


def _maps(experiment: Experiment) -> MapParts | None:
    """Return what judges outputs by label maps, and the names and colours of their classes."""
    if experiment.task is not SEGMENTATION:
        return None
    dataset, backbone = experiment.dataset, experiment.backbone
    known = dataset.class_names or ()
    names = [*known, *map(str, range(len(known), backbone.num_classes))][: backbone.num_classes]
    judge = MapJudge(
        experiment.stream.label_maps,
        experiment.method.outputs,
        dataset.ignore_label,
        backbone.align_corners,
        _pictured(experiment.plan),
    )
    return judge, tuple(names), dataset.palette or ()


def _pictured(plan: StreamPlan) -> list[int]:
    """Return the position of the last image of visits that are spread evenly, in stream order."""
    last = _last_of_visits(plan)
    return [last[at] for at in np.unique(np.linspace(0, len(last) - 1, MOST_PICTURED).astype(int))]


def _last_of_visits(plan: StreamPlan) -> list[int]:
    """Return the position of the last image of each visit that counts, in stream order."""
    visits = plan.visit[plan.counted]
    last = len(visits) - 1 - np.unique(visits[::-1], return_index=True)[1]
    return np.flatnonzero(plan.counted)[np.sort(last)].tolist()


def make_observer(course: Course, recorder: Recorder) -> Recorder | ProbedRecorder:
    """Return what sees the batches, where a checkpoint left it: the recorder, or one that probes.

    The probe before the stream is made here.
    """
    experiment = course.experiment
    observer: Recorder | ProbedRecorder = recorder
    if experiment.clean is not None:
        probe = Probe(experiment.method, experiment.clean, experiment.config.probe_samples)
        observer = ProbedRecorder(recorder, probe, experiment.plan, course.memory.paused)
    if course.saved is not None:
        with taking_over(course.directory):
            observer.load_state_dict(course.saved.recorder)
    elif isinstance(observer, ProbedRecorder):
        observer.measure()
    return observer


def _evidence(experiment: Experiment) -> Evidence | None:
    if not experiment.config.evidence:
        return None
    return Evidence(
        experiment.config.evidence,
        experiment.plan,
        experiment.backbone.num_classes,
        experiment.method.outputs,
        experiment.method.predict,
        experiment.config.seed,
        experiment.device,
    )


def _estimator(experiment: Experiment) -> Estimator | None:
    config = experiment.config
    if not config.estimate:
        return None
    return Estimator(
        EstimateTable(config.estimate, experiment.plan),
        experiment.method.outputs,
        experiment.backbone.num_classes,
        experiment.method.predict,
        config.seed,
        experiment.device,
        experiment.dropout,
        ResetRule() if config.reset_rule == "aetta" else None,
        experiment.backbone.compilation,
    )


def _watch(experiment: Experiment, labels: np.ndarray, memory: PeakMemory) -> CollapseWatch:
    def initial(positions: np.ndarray) -> np.ndarray:
        with memory.paused():
            return initial_predictions(experiment, positions)

    return CollapseWatch(
        experiment.plan,
        labels,
        experiment.stream.edges[:-1],
        experiment.method.outputs,
        experiment.adapting_method.backbone,
        experiment.backbone,
        initial,
    )


def _map_watch(experiment: Experiment, memory: PeakMemory) -> MapCollapseWatch:
    def initial(positions: np.ndarray) -> np.ndarray:
        with memory.paused():
            return initial_matrices(experiment, positions)

    return MapCollapseWatch(
        experiment.plan,
        experiment.stream.edges[:-1],
        experiment.method.outputs,
        experiment.adapting_method.backbone,
        experiment.backbone,
        initial,
    )


def initial_matrices(experiment: Experiment, positions: np.ndarray) -> np.ndarray:
    """Return the matrices ``[n, C, C + 1]`` of what the method predicted before the stream.

    The method is put back to where it was; it must be between two batches.
    """
    method, stream = experiment.method, experiment.stream
    state = method.state_dict()
    method.reset()
    found = []
    for rows in np.array_split(positions, -(-len(positions) // stream.longest)):
        maps = stream.label_maps(rows).to(experiment.device)
        outputs, ignore = method.predict(stream.images(rows)), experiment.dataset.ignore_label
        aligned = experiment.backbone.align_corners
        found.append(pixel_metrics(outputs, maps, method.outputs, ignore, aligned)[1])
    method.load_state_dict(state)
    return torch.cat(found).cpu().numpy()


def initial_predictions(experiment: Experiment, positions: np.ndarray) -> np.ndarray:
    """Return the classes ``[n]`` that the method predicted before the stream.

    The method is put back to where it was; it must be between two batches.
    """
    method = experiment.method
    state = method.state_dict()
    method.reset()
    size = max(experiment.config.window, experiment.stream.longest)
    classes = [
        method.predict(experiment.stream.images(positions[first : first + size])).argmax(1)
        for first in range(0, len(positions), size)
    ]
    method.load_state_dict(state)
    return torch.cat(classes).cpu().numpy()


def make_checkpoints(course: Course, observer: Recorder | ProbedRecorder) -> Checkpoints:
    """Return what saves a run whose method is prepared."""
    experiment, saved = course.experiment, course.saved
    preparation = experiment.adapting_method.preparation()
    is_new = experiment.prepares and saved is None
    return Checkpoints(
        observer,
        experiment.method,
        course.directory,
        len(experiment.plan),
        every=experiment.config.checkpoint_every,
        preparation=preparation if is_new else None,
        first_bytes=saved_bytes(preparation),
        resumed_at=[*saved.resumed_at, saved.position] if saved else [],
        apart=course.memory.paused,
        made_with=arithmetic(experiment.device),
        stops=course.stops,
        runs=lambda: course.company.runs,
    )
