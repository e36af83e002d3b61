"""What can be told to be wrong before torch is imported, which takes seconds."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

from tta.backbones.checkpoint_head import checkpoint_head
from tta.backbones.clip_names import check_clip, is_clip
from tta.backbones.names import check_architecture
from tta.config import RunConfig
from tta.datasets import DATASETS, check_argument, split_specification
from tta.datasets.benchmark import Benchmark
from tta.datasets.composed import composed_domain
from tta.datasets.paths import array_file, data_folder, image_folder, optional_data_folder
from tta.experiment.given import NOTHING, Given, check_given
from tta.experiment.resolving import OWN_SOURCE, resolve_params, scenario_options
from tta.experiment.segmenting import check_segmentation
from tta.foundation.errors import UserError
from tta.foundation.inputs import check_writable
from tta.foundation.own_file import split_own
from tta.foundation.registry import Registry
from tta.foundation.system import require_posix
from tta.foundation.templates import check_templates
from tta.methods import METHODS
from tta.methods.declared import Undeclared, declared
from tta.presets import load_preset
from tta.streams import check_name, check_stream
from tta.tasks.classes.lists import check_choice

_UNKNOWN = SimpleNamespace(benchmark=Benchmark())
_PATHS = {
    "arrays": array_file,
    "folder": image_folder,
    "folder@gen": image_folder,
    "folder-seg": image_folder,
}


def preflight(config: RunConfig, given: Given = NOTHING) -> None:
    """Check names, paths and numbers of a run, as far as that takes no torch.

    Args:
        config: of the run.
        given: what it does not name.

    Raises:
        UserError: the same as later, when the parts of the run are made.
    """
    require_posix()
    check_given(config, given)
    dataset = given.dataset or _checked_data(config.dataset)
    if split_own(config.scenario) is None:
        catalog = _composed(given.dataset or _catalog(config, dataset), config)
        check_stream(config.scenario, catalog, scenario_options(config))
    else:
        check_name(config.scenario)
    check_method(config, dataset)
    check_segmentation(config, dataset, given.method or _declared(METHODS, config.method))
    _check_backbones(config, None if given.model is not None else dataset)
    check_templates(config.templates)
    unknown = None if config.unknown is None else _checked_data(config.unknown)
    _check_folders(config, dataset, unknown)
    if config.source is not None and given.source is None:
        _checked_data(config.source)
    if config.probe not in (None, OWN_SOURCE):
        _checked_data(config.probe)
    check_choice(config.classes)
    for weights in (config.weights, config.cloud_weights):
        if weights is not None:
            checkpoint_head(weights)


def _check_backbones(config: RunConfig, dataset: Any) -> None:
    benchmark = getattr(dataset, "benchmark", None)
    chosen = config.backbone or getattr(benchmark, "backbone", None)
    if is_clip(chosen):
        check_clip(chosen, config.weights is not None)
    if is_clip(config.cloud_backbone):
        raise UserError(
            f"--cloud-backbone {config.cloud_backbone} is an image-text model, which a second "
            "model cannot be: name one of timm's"
        )
    if METHODS.location(config.method) is None:  # it may register nets of its own
        return
    for name in filter(None, (config.backbone, config.cloud_backbone)):
        if not is_clip(name):
            check_architecture(name)


def check_method(config: RunConfig, dataset: Any = None) -> None:
    """Check the name of the method, its file, its hyper-parameters and the preset.

    Raises:
        UserError: one of them is wrong.
    """
    METHODS.check(config.method)
    if config.preset not in ("auto", "defaults"):
        load_preset(config.preset)
    method = _declared(METHODS, config.method)
    if method is not None:
        resolve_params(method, config, dataset or _UNKNOWN, _declared_method)


def _declared_method(name: str) -> Any:
    METHODS.check(name)
    return _declared(METHODS, name)


def _declared(registry: Registry, name: str) -> Any:
    """Return what the source of a built-in object declares, or None."""
    location = registry.location(name)
    try:
        return declared(location) if location else None
    except Undeclared:
        return None


def _checked_data(specification: str) -> Any:
    """Check a data set's name and the path behind it; return what its source declares."""
    name, argument = split_specification(specification)
    DATASETS.check(name)
    dataset = _declared(DATASETS, name)
    if dataset is not None:
        check_argument(specification, dataset.argument)
    if name in _PATHS:
        _PATHS[name](argument)
    return dataset


def _catalog(config: RunConfig, dataset: Any) -> Any:
    """Return what is known of the data set as ``check_stream`` asks for it, or None."""
    if dataset is None:
        return None
    _, argument = split_specification(config.dataset)
    # What follows the name may choose domains, unless it is a path.
    known = (
        getattr(dataset, "domains", None) if dataset.argument == "path" or not argument else None
    )
    return SimpleNamespace(
        name=getattr(dataset, "name", config.dataset),
        domains=known or config.domains or (),
        severities=dataset.severities,
        default_severity=dataset.default_severity,
        in_order=dataset.in_order,
        makes_corruptions=dataset.makes_corruptions,
    )


def _composed(catalog: Any, config: RunConfig) -> Any:
    """Return a catalog, or None, whose domain is that of composed corruptions where there are."""
    if catalog is None or config.compose is None:
        return catalog
    found = copy.copy(catalog)
    found.domains = (composed_domain(catalog, config.compose),)
    return found


def _check_folders(config: RunConfig, *datasets: Any) -> None:
    stored = declared("tta.datasets.stored:StoredDataset")
    if any(isinstance(kind, type) and issubclass(kind, stored) for kind in datasets):
        data_folder(config.data_dir)
    elif config.data_dir is not None:
        optional_data_folder(config.data_dir)
    check_writable(config.output, "--output")
    if config.decoded_cache is not None:
        check_writable(config.decoded_cache, "--decoded-cache")
