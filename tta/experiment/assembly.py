"""The parts of one run, built from a :class:`~tta.config.RunConfig`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from tta.backbones.backbone import Backbone
from tta.backbones.compilation import Compilation, choose_compilation
from tta.backbones.identity import model_identity
from tta.backbones.taking import bare_network
from tta.config import RunConfig
from tta.datasets.ccc import ContinuallyChanging
from tta.experiment.built import Experiment
from tta.experiment.class_numbers import OutputClasses, number_cloud_classes
from tta.experiment.given import NOTHING, Given
from tta.experiment.ground import Ground, lay_ground
from tta.experiment.observing.memory import held_bytes
from tta.experiment.observing.trackers import require_tracker
from tta.experiment.pacing import paced
from tta.experiment.parts import (
    batch_size_of,
    choose_device,
    choose_workers,
    make_clean,
    make_cloud,
    make_method,
    make_source,
)
from tta.experiment.preflight import preflight
from tta.experiment.resolving import (
    resolve_params,
)
from tta.experiment.segmenting import check_segmentation
from tta.foundation.backends import fix_workspace, rounding
from tta.foundation.code_digest import code_digest
from tta.foundation.room import bytes_of_a_method, free_bytes
from tta.methods import Method, Need, find_method
from tta.methods.requirements import SOURCE_NEEDS, check_needs
from tta.source.calibration import calibrate
from tta.source.source_data import SourceData
from tta.streams import find_scenario
from tta.streams.stream import Stream


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
    (made,) = build_several([config], calibrated, given)
    if isinstance(made, Exception):
        raise made
    return made


def build_several(
    configs: Sequence[RunConfig],
    calibrated: bool = True,
    given: Given = NOTHING,
    share_of_memory: float | None = None,
) -> list[Experiment | Exception]:
    """Make the parts of runs that share their data, their stream and their source model.

    Args:
        configs: alike but for :data:`tta.config.OF_A_METHOD`.
        calibrated: see :func:`build`.
        given: see :func:`build`.
        share_of_memory: that their models may take of what is free; None for no bound.

    Returns:
        Of each of the first configurations, at least one and as many as there is room for, its
        parts, or what is wrong with it.

    Raises:
        UserError: what is wrong with the parts that they share.
    """
    made = [_attempt(partial(_checked, config, given)) for config in configs]
    sound = [config for config, fault in zip(configs, made, strict=True) if fault is None]
    if not sound:
        return made
    first = sound[0]
    on_gpu = first.device == "auto" or first.device.startswith("cuda")
    if first.deterministic and on_gpu and torch.cuda.is_available():
        fix_workspace()  # before a question about a device starts CUDA
    device = choose_device(first.device, first.precision)
    with rounding_of(first, device):
        ground = lay_ground(first, device, given)
        if share_of_memory is not None:
            most = int(share_of_memory * free_bytes(device) / bytes_of_a_method(ground.backbone))
            made = made[: max(1, most)]
        runs: list[Experiment] = []
        for number, fault in enumerate(made):
            if fault is None:
                beside = runs[0] if runs else None
                one = made[number] = _attempt(
                    partial(_built, configs[number], ground, given, beside)
                )
                runs += [one] if isinstance(one, Experiment) else []
        if runs and calibrated and isinstance(ground.dataset, ContinuallyChanging):
            kept = not first.no_cache and given.model is None  # its key knows models by name
            calibrate(ground.dataset, ground.backbone, device, cache=kept)
    return made


def _attempt(act: Callable[[], Any]) -> Any:
    """Return what comes of it, or what it raises."""
    try:
        return act()
    except Exception as error:  # noqa: BLE001  it is this run's alone
        return error


def _checked(config: RunConfig, given: Given) -> None:
    preflight(config, given)
    require_tracker(config.track)
    _method_class(config, given)  # it may register networks


def _method_class(config: RunConfig, given: Given) -> type[Method]:
    return given.method or find_method(config.method)


def rounding_of(config: RunConfig, device: torch.device) -> AbstractContextManager[None]:
    """Return the context in which a configuration is built and run."""
    return rounding(device, config.precision == "tf32", config.deterministic)


def _built(
    config: RunConfig, ground: Ground, given: Given, beside: Experiment | None
) -> Experiment:
    method_class, stream = _method_class(config, given), ground.stream
    check_segmentation(config, ground.dataset, method_class)
    params, preset = resolve_params(method_class, config, ground.dataset)
    config, backbone = replace(config, precision=ground.precision), ground.backbone.beside()
    config, compile_reason = _with_compilation(config, stream, backbone)
    needs = method_class.needs(params)
    source, cloud = _source_and_cloud(config, needs, stream, backbone, ground.classes, given)
    clean = make_clean(config, stream, backbone, ground.classes, given)
    check_needs(method_class, params, backbone, source is not None, cloud)
    choose_workers(config, stream, source, Need.SOURCE_AT_STEP in needs)
    held = held_bytes(stream.device)
    made = make_method(method_class, backbone, cloud, params, config, stream)
    method_bytes = max(0, held_bytes(stream.device) - held)
    return Experiment(
        config=config,
        dataset=ground.dataset,
        geometry=ground.geometry,
        order=find_scenario(config.scenario),
        plan=ground.plan,
        stream=stream,
        backbone=backbone,
        cloud=cloud,
        method=paced(config, made, stream, backbone),
        params=params,
        preset=preset,
        source=source,
        clean=clean,
        precision_reason=ground.precision_reason,
        compile_reason=compile_reason,
        method_bytes=method_bytes,
        given=given,
        model_digest=_model_digest(given),
        dropout=ground.dropout,
        beside=beside,
    )


def _model_digest(given: Given) -> str | None:
    if given.model is None:
        return None
    digest, files = model_identity(bare_network(given.model))
    return hashlib.sha256(f"{digest} {given.split} {code_digest(*files)}".encode()).hexdigest()


def _with_compilation(
    config: RunConfig, stream: Stream, backbone: Backbone
) -> tuple[RunConfig, str | None]:
    """Let the backbone be compiled; return the options as they are then, and why it cannot be."""
    mode, reason = choose_compilation(config.compile, stream.device)
    if mode != "none":
        whole = max(batch_size_of(config, stream.dataset), config.window)
        backbone.compilation = Compilation(mode, {whole})
    return replace(config, compile=mode), reason


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
