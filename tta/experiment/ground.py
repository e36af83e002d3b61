"""What runs beside each other share: data, stream, source model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from tta.backbones.backbone import Backbone
from tta.backbones.dropout import StageDropout
from tta.backbones.precision import PRECISIONS, choose_precision
from tta.config import RunConfig
from tta.datasets import Dataset
from tta.datasets.named_classes import NamedClasses
from tta.datasets.with_unknown import WithUnknown, known_part
from tta.experiment.class_numbers import OutputClasses, number_classes
from tta.experiment.given import Given
from tta.experiment.pacing import with_adaptation_set
from tta.experiment.parts import (
    batch_size_of,
    choose_memory_format,
    fit_images,
    make_backbone,
    open_test_data,
)
from tta.experiment.resolving import (
    estimate_dropout,
    scenario_options,
    unknown_choices,
)
from tta.experiment.segmenting import check_fits
from tta.experiment.showing import Geometry
from tta.foundation.errors import UserError
from tta.streams import ScenarioOptions, StreamPlan, find_scenario, plan_stream
from tta.streams.stream import Stream, labels_of
from tta.streams.unknown_mix import UnknownMix, with_unknown


@dataclass(frozen=True)
class Ground:
    """What runs beside each other share."""

    dataset: Dataset
    plan: StreamPlan
    stream: Stream
    geometry: Geometry
    backbone: Backbone
    classes: OutputClasses
    precision: str
    precision_reason: str | None
    dropout: StageDropout | None


def lay_ground(config: RunConfig, device: torch.device, given: Given) -> Ground:
    """Open the data, lay out the stream and load the source model.

    Raises:
        UserError: bad input of any kind.
    """
    dataset = open_test_data(config, given)
    plan = _plan(config, dataset)
    backbone = make_backbone(config, dataset, given, device)
    check_fits(backbone, dataset)
    backbone.at_input_size = config.loss_size == "input"
    classes = number_classes(config, known_part(dataset), backbone)
    if isinstance(known_part(dataset), NamedClasses):  # labels may have got other numbers
        plan = _plan(config, dataset)
    stream, geometry = _stream(config, dataset, plan, backbone, device)
    batch_size = batch_size_of(config, dataset)
    precision, reason = choose_precision(
        config.precision, backbone, batch_size, stream.memory_format
    )
    backbone.precision = PRECISIONS[precision]
    dropout = _dropout(config, backbone)  # before a method copies the model
    return Ground(dataset, plan, stream, geometry, backbone, classes, precision, reason, dropout)


def _plan(config: RunConfig, dataset: Dataset) -> StreamPlan:
    options = scenario_options(config, batch_size_of(config, dataset))
    if isinstance(dataset, WithUnknown):
        plan = _plan_with_unknown(config, dataset, options)
    else:
        plan = _checked_copies(config, dataset, plan_stream(config.scenario, dataset, options))
    return with_adaptation_set(config, dataset, plan)


def _checked_copies(config: RunConfig, dataset: Dataset, plan: StreamPlan) -> StreamPlan:
    """Return the plan, unless it shows moved copies where these mean nothing.

    Raises:
        UserError: see above.
    """
    beside = {
        "--unknown": config.unknown,
        "--adapt-samples": config.adapt_samples,
        "--adapt-classes": config.adapt_classes,
        "data that is segmented": dataset.dense or None,
    }
    named = [what for what, given in beside.items() if given is not None]
    if plan.shift is not None and named:
        raise UserError(
            f"--scenario {config.scenario} compares classes of images and of their moved copies, "
            f"and is not for {named[0]}: choose another scenario, or leave that out"
        )
    return plan


def _plan_with_unknown(
    config: RunConfig, dataset: WithUnknown, options: ScenarioOptions
) -> StreamPlan:
    mix = UnknownMix(*unknown_choices(config).values(), options.batch_size, config.seed)
    if find_scenario(config.scenario).task_batches:
        options = replace(options, batch_size=mix.known_in_a_batch())
    plan = plan_stream(config.scenario, dataset.known, options)
    _checked_copies(config, dataset, plan)
    dataset.check_all_known(labels_of(dataset.known, plan))
    return with_unknown(plan, dataset.counts, mix)


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


def _dropout(config: RunConfig, backbone: Backbone) -> StageDropout | None:
    rate = estimate_dropout(config, backbone)
    return None if rate is None else StageDropout(backbone, rate)
