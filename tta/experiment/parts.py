"""The parts of a run, each made from its configuration."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import nn

from tta.backbones import create_backbone, is_same_backbone, wrap_model
from tta.backbones.backbone import Backbone
from tta.backbones.clip_names import is_clip
from tta.backbones.folding import folded
from tta.backbones.model_card import UNSTATED
from tta.backbones.sizes import create_for_size
from tta.config import RunConfig
from tta.datasets import Dataset, open_dataset
from tta.datasets.checks import check_all_known
from tta.datasets.composed import composed_domain
from tta.datasets.decoded_cache import open_cache_folder
from tta.datasets.loading import default_workers
from tta.datasets.with_unknown import WithUnknown, known_part
from tta.experiment.class_numbers import OutputClasses, number_source_classes
from tta.experiment.given import NOTHING, Given
from tta.experiment.prompting import make_zero_shot, refuse_templates
from tta.experiment.resolving import OWN_SOURCE
from tta.experiment.segmenting import check_source_fits
from tta.experiment.showing import Geometry, check_size, show, show_source
from tta.foundation.devices import NO_TF32, no_such_device
from tta.foundation.errors import UserError
from tta.foundation.normalisation import spread
from tta.methods import Method
from tta.methods.viewed import ViewedMethod
from tta.methods.window import SlidingWindow
from tta.source.models import own_weights
from tta.source.source_data import SourceData
from tta.streams.stream import Stream


def open_test_data(config: RunConfig, given: Given = NOTHING) -> Dataset:
    """Return the test data, with the unknown images that are to be shown beside.

    Where corruptions are composed, they are its only domain. A stream without end gets its length
    from the number of samples.
    """
    # A copy of what is given: sizes and such are set on it.
    dataset = copy.copy(given.dataset) or open_dataset(config.dataset, config.data_dir)
    if dataset.length is not None and config.num_samples is not None:
        dataset.length = config.num_samples
    if config.compose is not None:
        dataset.domains = (composed_domain(dataset, config.compose),)
    if config.unknown is None:
        return dataset
    unknown = open_dataset(config.unknown, config.data_dir)
    return WithUnknown(dataset, unknown, config.domains or dataset.domains)


def choose_device(name: str, precision: str = "fp32") -> torch.device:
    """Return the device; ``auto`` is the first there is of cuda, mps and cpu.

    Args:
        name: see :func:`tta.foundation.devices.parse_device`.
        precision: of the run; ``tf32`` is not for every device.

    Raises:
        UserError: there is no such device here, or its products are never rounded to TF32.
    """
    there = available_devices()
    chosen = there[0] if name == "auto" else name
    if chosen.startswith("cuda") and name in ("auto", "cuda") and torch.cuda.is_available():
        chosen = f"cuda:{torch.cuda.current_device()}"
    if chosen not in there:
        raise no_such_device(name, there)
    device = torch.device(chosen)
    if precision == "tf32" and not _multiplies_in_tf32(device):
        raise UserError(NO_TF32.format(chosen))
    return device


def available_devices() -> list[str]:
    """Return the names of the devices of this machine, those that are preferred first."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [f"cuda:{number}" for number in range(gpus)] + mps + ["cpu"]


def _multiplies_in_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def make_backbone(
    config: RunConfig,
    dataset: Dataset,
    given: Given = NOTHING,
    device: torch.device | str = "cpu",
) -> Backbone:
    """Return the source model that the user gave or named, or the data set's own, on the CPU.

    Args:
        config: of the run.
        dataset: the test data.
        given: what is handed over.
        device: where an image-text model encodes the names of classes.

    Raises:
        UserError: there is none, or its weights do not fit, or it cannot take ``--input-size``.
    """
    if config.templates is not None:
        refuse_templates(config, given)
    if given.model is not None:
        return wrap_model(
            given.model,
            class_subset=dataset.class_subset,
            mean=config.mean,
            std=config.std,
            input_size=config.input_size,
            num_classes=config.num_classes,
            split=given.split,
        )
    benchmark = dataset.benchmark
    if config.backbone is None and benchmark.backbone is None:
        raise UserError(
            f"dataset {dataset.name!r} has no backbone of its own; pass --backbone NAME "
            "(any timm model) and, unless timm can download its weights, --weights FILE"
        )
    own = config.backbone is None or is_same_backbone(config.backbone, benchmark.backbone)
    name = benchmark.backbone if own else config.backbone
    if is_clip(name):
        return make_zero_shot(config, name, dataset, torch.device(device))
    weights = config.weights
    if weights is None:
        weights = own_weights(dataset) if own else benchmark.other_weights.get(name)
    backbone = _sized_backbone(
        config,
        name,
        weights=weights,
        num_classes=config.num_classes or (_outputs(dataset) if own else None),
        class_subset=dataset.class_subset,
        weights_kind=config.weights_kind,
        normalisation=None if config.mean is None else (spread(config.mean), spread(config.std)),
    )
    if weights != config.weights:
        _say_of_own_file(backbone, config.mean is not None)
    _say_how_to_state_it(backbone, "--mean and --std, or a config.json beside it")
    return backbone


def _say_of_own_file(backbone: Backbone, normalised_by_user: bool) -> None:
    """Leave out what was understood of a file that comes with the data set."""
    backbone.understood.pop("weights")
    if not normalised_by_user:
        backbone.understood.pop("normalisation")


def _say_how_to_state_it(backbone: Backbone, how: str) -> None:
    """Name what would say with which normalisation a checkpoint was trained, if nothing does."""
    said = backbone.understood.get("normalisation", "")
    if said.endswith(UNSTATED):
        backbone.understood["normalisation"] = f"{said}: {how} would"


def make_cloud(config: RunConfig, dataset: Dataset) -> Backbone | None:
    """Return the cloud's model that the user named, or the data set's own, or None.

    Raises:
        UserError: its weights do not fit, or it cannot take images of the size shown.
    """
    benchmark = dataset.benchmark
    name = config.cloud_backbone or benchmark.cloud_backbone
    if name is None:
        return None
    own = is_same_backbone(name, benchmark.cloud_backbone)
    weights = config.cloud_weights or (benchmark.cloud_weights if own else None)
    cloud = _sized_backbone(
        config,
        name,
        weights=weights,
        num_classes=config.num_classes or (_outputs(dataset) if own else None),
        weights_kind=config.weights_kind,
    )
    if weights != config.cloud_weights:
        _say_of_own_file(cloud, False)
    _say_how_to_state_it(cloud, "a config.json beside it")
    check_size(dataset, cloud, dataset.image_size)
    return cloud


def _sized_backbone(config: RunConfig, name: str, **options: Any) -> Backbone:
    create = partial(create_backbone, name, **options)
    if config.input_size is None:
        return create()
    return create_for_size(create, config.input_size, options["weights"] is not None)


def _outputs(dataset: Dataset) -> int | None:
    # The source model of a class subset has outputs for the other classes too.
    return None if dataset.class_subset is not None else dataset.num_classes


def choose_memory_format(name: str, backbone: nn.Module) -> torch.memory_format:
    """Return the layout of activations; ``auto`` is channels_last for convolutions."""
    convolutional = any(isinstance(module, nn.Conv2d) for module in backbone.modules())
    if name == "channels_last" or name == "auto" and convolutional:
        return torch.channels_last
    return torch.contiguous_format


def fit_images(
    config: RunConfig, dataset: Dataset, place: tuple[str, int], backbone: Backbone
) -> Geometry:
    """Let images be shown as the options, the data and the backbone want it, and kept so.

    Raises:
        UserError: the backbone cannot take the size that follows.
    """
    _keep_decoded(config, dataset)
    return show(config, dataset, place, backbone, from_file=config.weights is not None)


def _keep_decoded(config: RunConfig, dataset: Dataset) -> None:
    if config.decoded_cache is not None:
        dataset.decoded_cache = open_cache_folder(config.decoded_cache)


def choose_workers(
    config: RunConfig, stream: Stream, source: SourceData | None, at_once: bool
) -> None:
    """Set the numbers of loading processes: what the user chose, or what suits data and cores.

    Args:
        config: of the run.
        stream: the test images.
        source: the source images, or None.
        at_once: whether both are loaded at a time, so that they share the cores.
    """
    loaded = [stream] if source is None else [stream, source]
    costly = sum(one.dataset.costly for one in loaded)
    for one in loaded:
        suitable = default_workers(one.dataset.costly, stream.device, costly if at_once else 1)
        one.workers = suitable if config.workers is None else config.workers


def batch_size_of(config: RunConfig, dataset: Dataset) -> int:
    """Return the batch size that the user chose, or the data set's published one."""
    return config.batch_size or dataset.benchmark.batch_size


def make_source(
    config: RunConfig,
    stream: Stream,
    backbone: Backbone,
    classes: OutputClasses,
    given: Given = NOTHING,
) -> SourceData | None:
    """Return the source images that the user gave or named, or the data set's own, or None.

    Raises:
        UserError: one is of no class, or they do not fit the test data.
    """
    images = _source_images(config, stream.dataset, given)
    if images is None:
        return None
    images = _fitted(config, images, stream, backbone, classes)
    batch_size = max(batch_size_of(config, stream.dataset), config.window)
    return SourceData(images, batch_size, config.seed, stream.device, stream.memory_format)


def make_clean(
    config: RunConfig,
    stream: Stream,
    backbone: Backbone,
    classes: OutputClasses,
    given: Given = NOTHING,
) -> SourceData | None:
    """Return the clean images of ``--probe``, or None where nothing is probed.

    Raises:
        UserError: the data set has no source images, or what is named cannot be read.
    """
    if config.probe is None:
        return None
    own = config.probe == OWN_SOURCE
    images = _source_images(config, stream.dataset, given) if own else None
    if images is None and own:
        raise UserError(
            f"--probe {OWN_SOURCE}: {stream.dataset.name!r} has no source images of its own; pass "
            "--source, or a data set of clean images as --probe"
        )
    if images is None:
        images = open_dataset(config.probe, config.data_dir)
    understood = backbone.understood  # of the source images; these are others
    images = _fitted(config, images, stream, backbone, classes)
    backbone.understood = understood
    batch_size = batch_size_of(config, stream.dataset)
    return SourceData(images, batch_size, 0, stream.device, stream.memory_format)


def _source_images(config: RunConfig, dataset: Dataset, given: Given) -> Dataset | None:
    specification = config.source or dataset.benchmark.source
    if specification is None and given.source is None:
        return None
    return copy.copy(given.source) or open_dataset(str(specification), config.data_dir)


def _fitted(
    config: RunConfig, images: Dataset, stream: Stream, backbone: Backbone, classes: OutputClasses
) -> Dataset:
    """Return images of the source domain, shown and labelled as those of the stream are."""
    _keep_decoded(config, images)
    images.in_use = tuple((name, images.severities[0]) for name in images.domains)
    for place in images.in_use:
        check_all_known(images.labels(*place), images.name)
    dataset = known_part(stream.dataset)
    check_source_fits(images, dataset)
    show_source(images, dataset, backbone)
    return number_source_classes(images, dataset, backbone, classes)


def own_copy(method: type[Method], backbone: Backbone, params: Any, fold: bool) -> Backbone:
    """Return the copy of the source model that a method gets, batch norm folded where asked for."""
    return folded(backbone) if fold and method.keeps_network(params) else backbone.clone()


def make_method(
    method: type[Method],
    backbone: Backbone,
    cloud: Backbone | None,
    params: Any,
    config: RunConfig,
    stream: Stream,
) -> Method | SlidingWindow:
    """Return the method around copies of the models, with its window if there is one."""
    # The backbones go on as the run's record of what was loaded; the method changes copies.
    made = method(own_copy(method, backbone, params, config.fold), params, seed=config.seed)
    made.decoded = stream.decoded
    made.usual_batch = batch_size_of(config, stream.dataset)
    made.position = stream.begun
    made.stream_length = stream.longest_part
    if cloud is not None:
        made.attach_model(cloud.clone())
    if config.window > 1 and issubclass(method, ViewedMethod):
        raise UserError(
            f"method {method.name!r} takes images one by one, which a window adds nothing to: "
            "leave --window out"
        )
    return SlidingWindow(made, config.window) if config.window > 1 else made
