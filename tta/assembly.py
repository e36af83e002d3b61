"""The parts of one run, built from a :class:`~tta.config.RunConfig`."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from tta.backbones.backbone import Backbone
from tta.cache import code_digest
from tta.calibration import calibrate
from tta.config import RunConfig
from tta.datasets import Dataset
from tta.datasets.ccc import ContinuallyChanging
from tta.methods import Method, Need, find_method
from tta.methods.requirements import SOURCE_NEEDS, check_needs
from tta.methods.window import SlidingWindow
from tta.notes import in_order
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
from tta.reporting.run_directory import run_path
from tta.reporting.trackers import require_tracker
from tta.scenarios import StreamPlan, plan_stream
from tta.showing import Geometry, described
from tta.source import SourceData
from tta.stream import Stream


@dataclass(frozen=True)
class Experiment:
    """The parts of one run.

    Attributes:
        config: as the user gave it, but for a precision that was left open.
        dataset: the test data.
        geometry: in which size its images are shown, and how they get it.
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
    geometry: Geometry
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
    def understood(self) -> dict[str, str]:
        """What was understood of the user's data and model, in words."""
        images = described(self.geometry, self.dataset, self.backbone)
        return in_order(self.dataset.understood(), images, self.backbone.understood)

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
            **self.geometry.resolved(),
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
    stream, backbone, geometry = _stream_and_backbone(config, dataset, plan)
    config, precision_reason = _with_precision(config, stream, backbone)
    source, cloud = _source_and_cloud(config, method_class.needs(params), stream, backbone)
    check_needs(method_class, params, backbone, source is not None, cloud)
    if isinstance(dataset, ContinuallyChanging):
        calibrate(dataset, backbone, stream.device, cache=not config.no_cache)
    return Experiment(
        config=config,
        dataset=dataset,
        geometry=geometry,
        plan=plan,
        stream=stream,
        backbone=backbone,
        cloud=cloud,
        method=make_method(method_class, backbone, cloud, params, config),
        params=params,
        preset=preset,
        source=source,
        precision_reason=precision_reason,
    )


def _stream_and_backbone(
    config: RunConfig, dataset: Dataset, plan: StreamPlan
) -> tuple[Stream, Backbone, Geometry]:
    """Return both on the device and in the layout of images that suits the backbone."""
    device = choose_device(config.device)
    backbone = make_backbone(config, dataset)
    check_classes(dataset, backbone)
    first = plan.domains[plan.domain[0]], int(plan.severity[0])
    geometry = fit_images(config, dataset, first, backbone)
    backbone.to(device)
    memory_format = choose_memory_format(config.memory_format, backbone)
    backbone.to(memory_format=memory_format)
    dataset.check(plan.domains, tuple(sorted({int(level) for level in plan.severity})))
    stream = Stream(
        dataset,
        plan,
        batch_size_of(config, dataset),
        contiguous=config.contiguous_batches,
        device=device,
        memory_format=memory_format,
        workers=choose_workers(config, dataset, device),
    )
    return stream, backbone, geometry


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
    config: RunConfig, needs: frozenset[Need], stream: Stream, backbone: Backbone
) -> tuple[SourceData | None, Backbone | None]:
    """Return the source images and the cloud's model, where the method needs them."""
    dataset, device, memory_format = stream.dataset, stream.device, stream.memory_format
    source = None
    if needs & SOURCE_NEEDS:  # opened for no other method: it may be large, or not on this machine
        batch_size = batch_size_of(config, dataset)
        source = make_source(config, dataset, backbone, batch_size, device, memory_format)
    cloud = make_cloud(config, dataset) if Need.CLOUD_MODEL in needs else None
    if cloud is not None:
        cloud.to(device, memory_format=memory_format)
        cloud.precision = backbone.precision
    return source, cloud
