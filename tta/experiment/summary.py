"""The summary of one run: what it was, its figures, and what they were made with."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tta.experiment.built import Experiment
from tta.experiment.compiling import capture_obstacle
from tta.experiment.figures import classes_digest, environment, figures
from tta.experiment.observing.course import Course
from tta.experiment.observing.map_table import MapTable
from tta.experiment.observing.probe import ProbedRecorder
from tta.experiment.observing.recorder import Recorder
from tta.experiment.pacing import pace_in_words
from tta.experiment.parts import batch_size_of
from tta.experiment.saving.checkpoints import Checkpoints
from tta.methods import Method
from tta.methods.params import plain_params
from tta.streams.adaptation_set import held_out_figures
from tta.streams.pacing.paced import Paced
from tta.streams.stream import labels_of
from tta.streams.translations import translation_figures
from tta.tasks.finite import nonfinite_facts
from tta.tasks.over_tasks import accuracy_over_tasks
from tta.tasks.queue_rejection import rejection_figures
from tta.tasks.recovery import recovery
from tta.tasks.task import OPEN_SET


def summarise(
    course: Course,
    recorder: Recorder,
    checkpoints: Checkpoints,
    domains: pd.DataFrame,
    finished: bool,
) -> dict[str, Any]:
    """Return the summary of a run, as ``summary.json`` has it.

    Args:
        course: the run.
        recorder: what has recorded it.
        checkpoints: what has saved it.
        domains: see :meth:`tta.experiment.observing.recorder.Recorder.domains`.
        finished: whether the stream came to its end.
    """
    experiment = course.experiment
    return {
        "schema": 1,
        "finished": finished,
        **_choices(experiment),
        **_open_set(experiment, recorder),
        **_segmentation(experiment, recorder),
        **_health(experiment, recorder),
        **_protocol(experiment, recorder, checkpoints.recorder),
        "resumed_at": checkpoints.resumed_at,
        "precision_reason": experiment.precision_reason,
        "compile_reason": experiment.compile_reason,
        **figures(
            domains, experiment.method.counters, recorder.samples.pooled(), recorder.samples.task
        ),
        **(recorder.estimator.facts() if recorder.estimator else {}),
        **({"evidence": recorder.evidence.figures()} if recorder.evidence else {}),
        "cost": _cost(course, recorder, checkpoints),
        **_provenance(experiment),
    }


def _cost(course: Course, recorder: Recorder, checkpoints: Checkpoints) -> dict[str, Any]:
    joules, company = recorder.joules, course.company.runs
    compiled = course.experiment.config.compile != "none"
    return {
        "prepare_seconds": course.prepare_seconds,
        **({"compile_seconds": course.compile_seconds} if compiled else {}),
        "stream_seconds": recorder.seconds,
        "checkpoint_seconds": checkpoints.seconds,
        "images_per_second": recorder.samples.seen / recorder.seconds,
        "peak_memory_bytes": course.memory.bytes(),
        "memory_rise_bytes": course.memory.rise(),
        **({} if joules is None else {"energy_joules": joules}),
        **({} if company == 1 else {"runs_on_the_stream": company}),
    }


def _choices(experiment: Experiment) -> dict[str, Any]:
    config, method = experiment.config, experiment.method
    needs = type(experiment.adapting_method).needs(experiment.params)
    return {
        "method": method.name,
        "title": method.title or method.name,
        "paper": method.paper,
        "predicts": method.predicts,
        "outputs": method.outputs,
        "needs": sorted(need.value for need in needs),
        "params": plain_params(experiment.params),
        **_files(experiment.adapting_method),
        "preset": experiment.preset,
        "dataset": experiment.dataset.name,
        "scenario": experiment.scenario,
        "backbone": experiment.backbone.name,
        "cloud_backbone": experiment.cloud and experiment.cloud.name,
        "batch_size": batch_size_of(config, experiment.dataset),
        "window": config.window,
        "seed": config.seed,
        "precision": config.precision,
        "compile": config.compile,
        **_graphs(experiment),
        "resets": int(experiment.plan.reset_before.sum()),
    }


def _graphs(experiment: Experiment) -> dict[str, Any]:
    """Return why a compiled run takes its steps one by one, None where it repeats a graph."""
    if experiment.config.compile == "none":
        return {}
    return {"graphs_reason": capture_obstacle(experiment)}


def _files(method: Method) -> dict[str, Any]:
    """Return digests of the files that hyper-parameters name; nothing where none does."""
    return {"params_files": dict(method.digests)} if method.digests else {}


def _open_set(experiment: Experiment, recorder: Recorder) -> dict[str, Any]:
    """Return what images were scored by, and what the method's own rule of rejection came to."""
    if experiment.task is not OPEN_SET:
        return {}
    score, samples = experiment.score_name, recorder.samples
    facts = {"task": experiment.task.name, "score": score}
    if experiment.adapting_method.rejection != "queue" or score != "own":
        return facts
    plan, right = experiment.plan, samples.correct > 0
    starts, judged = experiment.stream.edges[:-1], (samples.known, plan.counted, plan.reset_before)
    return facts | rejection_figures(samples.score, starts, right, *judged)


def _segmentation(experiment: Experiment, recorder: Recorder) -> dict[str, Any]:
    """Return the task, and the IoU of each class over the stream and at every visit."""
    if not isinstance(recorder.samples, MapTable):
        return {}
    return {
        "task": experiment.task.name,
        "ignore_label": experiment.dataset.ignore_label,
        "align_corners": experiment.backbone.align_corners,
        "class_iou": recorder.samples.class_figures(),
    }


def _protocol(experiment: Experiment, recorder: Recorder, observer: Any) -> dict[str, Any]:
    """Return what a protocol has made of the run: nothing, where a method simply adapts."""
    method, plan = experiment.method, experiment.plan
    facts: dict[str, Any] = {}
    if isinstance(method, Paced):
        facts["pace"] = {"rule": pace_in_words(experiment.config), **method.facts()}
    if experiment.order.task_batches:
        facts["tasks"] = _over_tasks(experiment, recorder)
    if isinstance(recorder.samples, MapTable):  # what follows is of classes of images
        return facts
    if plan.adaptation is not None:
        labels = labels_of(experiment.dataset, plan)
        facts["held_out"] = held_out_figures(plan, labels, recorder.samples.correct)
    if plan.shift is not None:
        facts["translations"] = translation_figures(plan, recorder.samples.prediction)
    correct, known = recorder.samples.correct, recorder.samples.known
    judged = plan.counted[: len(correct)] & known
    facts["recovery"] = recovery(
        correct[judged],
        plan.visit[: len(correct)][judged],
        plan.domain[: len(correct)][judged],
        batch_size_of(experiment.config, experiment.dataset),
    )
    if isinstance(observer, ProbedRecorder):
        facts["probe"] = observer.figures()
    return facts


def _over_tasks(experiment: Experiment, recorder: Recorder) -> dict[str, Any]:
    """Return the mean accuracy over tasks, each of which is a segment of the stream."""
    plan, correct = experiment.plan, recorder.samples.correct
    judged = plan.counted[: len(correct)] & recorder.samples.known
    return accuracy_over_tasks(correct[judged], plan.segment[: len(correct)][judged])


def _health(experiment: Experiment, recorder: Recorder) -> dict[str, Any]:
    """Return whether the run collapsed, and where its outputs or weights were no numbers."""
    watch = recorder.watch
    return {
        "collapsed_at_batch": watch.batch,
        "collapsed_at_image": watch.collapsed_at,
        **nonfinite_facts(recorder.samples.confidence, experiment.stream.edges[:-1]),
        "nonfinite_weights_after": _domain_of(experiment, watch.nonfinite_weights_after()),
        "on_nonfinite": experiment.config.on_nonfinite,
    }


def _domain_of(experiment: Experiment, visit: int | None) -> str | None:
    """Return the domain of a visit."""
    if visit is None:
        return None
    plan = experiment.plan
    return plan.domains[plan.domain[(plan.visit == visit).argmax()]]


def _provenance(experiment: Experiment) -> dict[str, Any]:
    return {
        "stream_digest": experiment.plan.digest,
        "data_digest": experiment.dataset.portable_digest(),
        **({"prompts": experiment.prompts} if experiment.prompts else {}),
        "classes_digest": classes_digest(experiment.backbone.class_ids),
        "source_digest": experiment.source and experiment.source.dataset.portable_digest(),
        "data": dict(experiment.dataset.provenance),
        "understood": experiment.understood,
        "warnings": list(experiment.warnings),
        "weights_sha256": experiment.backbone.weights_sha256,
        "cloud_weights_sha256": experiment.cloud and experiment.cloud.weights_sha256,
        "fingerprint": experiment.fingerprint(),
        "code_digest": experiment.code,
        **({"objects": experiment.given.names} if experiment.given.names else {}),
        "environment": environment(experiment.device),
    }
