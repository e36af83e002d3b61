"""The parts of one run, built from a :class:`~tta.config.RunConfig`."""

from __future__ import annotations

import dataclasses
import hashlib
from contextlib import AbstractContextManager

import torch

from tta.backbones.backbone import Backbone
from tta.backbones.dropout import StageDropout
from tta.backbones.identity import model_identity
from tta.backbones.precision import PRECISIONS, choose_precision
from tta.backbones.taking import bare_network
from tta.config import RunConfig
from tta.datasets import Dataset
from tta.datasets.ccc import ContinuallyChanging
from tta.datasets.named_classes import NamedClasses
from tta.datasets.with_unknown import WithUnknown, known_part
from tta.experiment.built import Experiment
from tta.experiment.class_numbers import OutputClasses, number_classes, number_cloud_classes
from tta.experiment.given import NOTHING, Given
from tta.experiment.observing.memory import held_bytes
from tta.experiment.observing.trackers import require_tracker
from tta.experiment.pacing import paced, with_adaptation_set
from tta.experiment.parts import (
    batch_size_of,
    choose_device,
    choose_memory_format,
    choose_workers,
    fit_images,
    make_backbone,
    make_clean,
    make_cloud,
    make_method,
    make_source,
    open_test_data,
)
from tta.experiment.preflight import preflight
from tta.experiment.resolving import (
    estimate_dropout,
    resolve_params,
    scenario_options,
    unknown_choices,
)
from tta.experiment.showing import Geometry
from tta.foundation.backends import fix_workspace, rounding
from tta.foundation.code_digest import code_digest
from tta.methods import Need, find_method
from tta.methods.requirements import SOURCE_NEEDS, check_needs
from tta.source.calibration import calibrate
from tta.source.source_data import SourceData
from tta.streams import ScenarioOptions, StreamPlan, find_scenario, plan_stream
from tta.streams.stream import Stream, labels_of
from tta.streams.unknown_mix import UnknownMix, with_unknown


def build(config: RunConfig, calibrated: bool = True, given: Given = NOTHING) -> Experiment:
    """Make every part of a run and check that they fit, before anything is written.

    Args:
        config: of the run.
        calibrated: lay out a stream that depends on the model; else the parts can be checked, but
            not run.
        given: parts in place of those that the options name.

    Raises:
        UserError: bad input of any kind.
    """
    preflight(config, given)
    require_tracker(config.track)
    on_gpu = config.device == "auto" or config.device.startswith("cuda")
    if config.deterministic and on_gpu and torch.cuda.is_available():
        fix_workspace()  # before a question about a device starts CUDA
    device = choose_device(config.device, config.precision)
    with rounding_of(config, device):
        return _build(config, device, calibrated, given)


def rounding_of(config: RunConfig, device: torch.device) -> AbstractContextManager[None]:
    """Return the context in which a configuration is built and run."""
    return rounding(device, config.precision == "tf32", config.deterministic)


def _build(config: RunConfig, device: torch.device, calibrated: bool, given: Given) -> Experiment:
    method_class = given.method or find_method(config.method)
    dataset = open_test_data(config, given)
    params, preset = resolve_params(method_class, config, dataset)
    plan = _plan(config, dataset)
    backbone = make_backbone(config, dataset, given, device)
    classes = number_classes(config, known_part(dataset), backbone)
    if isinstance(known_part(dataset), NamedClasses):  # labels may have got other numbers
        plan = _plan(config, dataset)
    stream, geometry = _stream(config, dataset, plan, backbone, device)
    config, precision_reason = _with_precision(config, stream, backbone)
    needs = method_class.needs(params)
    source, cloud = _source_and_cloud(config, needs, stream, backbone, classes, given)
    clean = make_clean(config, stream, backbone, classes, given)
    check_needs(method_class, params, backbone, source is not None, cloud)
    choose_workers(config, stream, source, Need.SOURCE_AT_STEP in needs)
    if calibrated and isinstance(dataset, ContinuallyChanging):
        kept = not config.no_cache and given.model is None  # its key knows models by name
        calibrate(dataset, backbone, stream.device, cache=kept)
    dropout = _dropout(config, backbone)  # before the method copies the model
    held = held_bytes(device)
    made = make_method(method_class, backbone, cloud, params, config, stream)
    method_bytes = max(0, held_bytes(device) - held)
    return Experiment(
        config=config,
        dataset=dataset,
        geometry=geometry,
        order=find_scenario(config.scenario),
        plan=plan,
        stream=stream,
        backbone=backbone,
        cloud=cloud,
        method=paced(config, made, stream, backbone),
        params=params,
        preset=preset,
        source=source,
        clean=clean,
        precision_reason=precision_reason,
        method_bytes=method_bytes,
        given=given,
        model_digest=_model_digest(given),
        dropout=dropout,
    )


def _dropout(config: RunConfig, backbone: Backbone) -> StageDropout | None:
    rate = estimate_dropout(config, backbone)
    return None if rate is None else StageDropout(backbone, rate)


def _plan(config: RunConfig, dataset: Dataset) -> StreamPlan:
    options = scenario_options(config, batch_size_of(config, dataset))
    if isinstance(dataset, WithUnknown):
        plan = _plan_with_unknown(config, dataset, options)
    else:
        plan = plan_stream(config.scenario, dataset, options)
    return with_adaptation_set(config, dataset, plan)


def _plan_with_unknown(
    config: RunConfig, dataset: WithUnknown, options: ScenarioOptions
) -> StreamPlan:
    mix = UnknownMix(*unknown_choices(config).values(), options.batch_size, config.seed)
    if find_scenario(config.scenario).task_batches:
        options = dataclasses.replace(options, batch_size=mix.known_in_a_batch())
    plan = plan_stream(config.scenario, dataset.known, options)
    dataset.check_all_known(labels_of(dataset.known, plan))
    return with_unknown(plan, dataset.counts, mix)


def _model_digest(given: Given) -> str | None:
    if given.model is None:
        return None
    digest, files = model_identity(bare_network(given.model))
    return hashlib.sha256(f"{digest} {given.split} {code_digest(*files)}".encode()).hexdigest()


def _stream(
    config: RunConfig,
    dataset: Dataset,
    plan: StreamPlan,
    backbone: Backbone,
    device: torch.device,
) -> tuple[Stream, Geometry]:
    """Return the stream, on the device and in the layout of images that suits the backbone.

    Both are set on the backbone as well.
    """
    first = plan.domains[plan.domain[0]], int(plan.severity[0])
    geometry = fit_images(config, known_part(dataset), first, backbone)
    if isinstance(dataset, WithUnknown):
        dataset.fit_unknown()
    backbone.to(device)
    memory_format = choose_memory_format(config.memory_format, backbone)
    backbone.to(memory_format=memory_format)
    dataset.check(plan.domains, tuple(sorted({int(level) for level in plan.severity})))
    if isinstance(dataset, WithUnknown):
        dataset.check_different()
    stream = Stream(
        dataset,
        plan,
        batch_size_of(config, dataset),
        contiguous=config.contiguous_batches,
        device=device,
        memory_format=memory_format,
    )
    return stream, geometry


def _with_precision(
    config: RunConfig, stream: Stream, backbone: Backbone
) -> tuple[RunConfig, str | None]:
    """Set the backbone's precision; return the options with it, and why ``auto`` picked it."""
    batch_size = batch_size_of(config, stream.dataset)
    precision, reason = choose_precision(
        config.precision, backbone, batch_size, stream.memory_format
    )
    backbone.precision = PRECISIONS[precision]
    return dataclasses.replace(config, precision=precision), reason


def _source_and_cloud(
    config: RunConfig,
    needs: frozenset[Need],
    stream: Stream,
    backbone: Backbone,
    classes: OutputClasses,
    given: Given,
) -> tuple[SourceData | None, Backbone | None]:
    """Return the source images and the cloud's model, where the method needs them."""
    source = None
    if needs & SOURCE_NEEDS:  # opened for no other method: it may be large, or not on this machine
        source = make_source(config, stream, backbone, classes, given)
    cloud = make_cloud(config, stream.dataset) if Need.CLOUD_MODEL in needs else None
    if cloud is not None:
        number_cloud_classes(cloud, stream.dataset, backbone, classes)
        cloud.to(stream.device, memory_format=stream.memory_format)
        cloud.precision = backbone.precision
    return source, cloud
