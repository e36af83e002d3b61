"""What the runs of a published table need and is not there, all at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tta.backbones import create_backbone
from tta.backbones.clip.making import load_image_text
from tta.backbones.clip_names import check_clip, is_clip
from tta.config import RunConfig
from tta.datasets import DATASETS, open_dataset, split_specification
from tta.experiment.resolving import resolve_params
from tta.foundation.errors import UserError
from tta.methods import METHODS
from tta.methods.requirements import SOURCE_NEEDS


def missing(configs: Sequence[RunConfig], weights_from: str = "") -> list[str]:
    """Return all that the runs need and is not there, each with its cure.

    Published weights are downloaded only where the data is there.
    """
    found = [fault for config in configs for fault in _all_data_faults(config)]
    for config in configs:
        if config.weights and not Path(config.weights).exists():
            found.append(f"{config.weights} is not there; put {weights_from or 'it'} there")
        elif config.weights or not found:
            found += weights_faults(config.backbone, config.weights, config.num_classes)
        elif is_clip(config.backbone):
            found += package_faults(config.backbone)
    return list(dict.fromkeys(found))


def _all_data_faults(config: RunConfig) -> list[str]:
    kind: Any = DATASETS.find(split_specification(config.dataset)[0])
    domains = config.domains and tuple(config.domains)
    found = list(data_faults(config.dataset, config.data_dir, domains, config.severity))
    method = METHODS[config.method]
    if method.needs(resolve_params(method, config, kind)[0]) & SOURCE_NEEDS:
        found += data_faults(config.source or kind.benchmark.source, config.data_dir)
    return found


@cache
def data_faults(
    specification: str,
    data_dir: str | None,
    domains: tuple[str, ...] | None = None,
    severity: int | None = None,
) -> tuple[str, ...]:
    """Return what is wrong with a data set as it lies on disk; domains default to all."""
    try:
        dataset = open_dataset(specification, data_dir)
        severity = dataset.default_severity if severity is None else severity
        return tuple(map(str, dataset.faults(domains or dataset.domains, (severity,))))
    except UserError as error:
        return (str(error),)


def package_faults(backbone: str) -> tuple[str, ...]:
    """Return why an image-text model cannot be made here, whatever its weights are."""
    try:
        check_clip(backbone, has_file=False)
    except UserError as error:
        return (str(error),)
    return ()


@cache
def weights_faults(backbone: str, weights: str | None, num_classes: int | None) -> tuple[str, ...]:
    """Load a source model, and return what is wrong with its weights."""
    try:
        if is_clip(backbone):
            load_image_text(backbone, weights)
        else:
            create_backbone(backbone, weights=weights, num_classes=num_classes)
    except UserError as error:
        return (str(error),)
    return ()


def refusal(name: str, faults: Sequence[str]) -> UserError:
    """Return the one message that names everything that is missing, cures last."""
    cures: dict[str, list[str]] = {}
    for fault in faults:
        problem, _, cure = fault.partition("; ")
        cures.setdefault(cure, []).append(problem)
    parts = [": ".join(filter(None, [", ".join(some), cure])) for cure, some in cures.items()]
    return UserError(f"{name!r} cannot be run, {len(faults)} missing: {'. '.join(parts)}")
