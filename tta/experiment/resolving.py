"""From options to hyper-parameters and to the stream's own, without importing torch."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from tta.config import RunConfig
from tta.methods.params import build_params
from tta.presets import published_params
from tta.streams import ScenarioOptions, StreamPlan

if TYPE_CHECKING:
    from tta.backbones.backbone import Backbone
    from tta.datasets import Dataset
    from tta.methods import Method


def resolve_params(method: type[Method], config: RunConfig, dataset: Dataset) -> tuple[Any, str]:
    """Return the hyper-parameters of a run and where they come from.

    ``--set`` goes over the preset, the preset over the method's defaults. In words, only what it
    changes counts.
    """
    name = preset_of(config, dataset)
    published, origin = {}, ""
    if name is not None:
        backbone = config.backbone or dataset.benchmark.backbone or ""
        published, origin = published_params(name, method.name, backbone)
    origin = origin or "the method's defaults"
    usual = build_params(method.Params, published, method.name)
    params = build_params(method.Params, {**published, **config.set}, method.name)
    names = [field.name for field in fields(params)]
    changed = [name for name in names if getattr(params, name) != getattr(usual, name)]
    if changed:
        origin += ", with " + ", ".join(f"{name}={getattr(params, name)}" for name in changed)
    return params, origin


def preset_of(config: RunConfig, dataset: Dataset) -> str | None:
    """Return the name of the preset that a run asks, or None where it asks none."""
    name = dataset.benchmark.preset if config.preset == "auto" else config.preset
    return None if name == "defaults" else name


def scenario_options(config: RunConfig) -> ScenarioOptions:
    """Return the options of the stream."""
    return ScenarioOptions(
        seed=config.seed,
        severity=config.severity,
        domains=config.domains,
        num_samples=config.num_samples,
        dirichlet=config.dirichlet,
        zipf=config.zipf,
    )


def stream_choices(
    config: RunConfig, dataset: Dataset, plan: StreamPlan, uses: frozenset[str]
) -> dict[str, Any]:
    """Return the options of the stream in the one form that all ways to write them share.

    Args:
        config: of the run.
        dataset: the test data.
        plan: of the stream.
        uses: options that its scenario reads.
    """
    severity = config.severity
    if severity is None:
        severity = dataset.default_severity
    sizes = [len(dataset.labels(domain, severity)) for domain in plan.domains]
    takes_all = config.num_samples is None or config.num_samples >= max(sizes)
    return {
        "domains": list(plan.domains),
        "severity": severity if "severity" in uses else None,
        "num_samples": None if takes_all and dataset.length is None else config.num_samples,
        "dirichlet": config.dirichlet if "dirichlet" in uses else RunConfig.dirichlet,
        "zipf": config.zipf if "zipf" in uses else RunConfig.zipf,
    }


def cloud_choices(config: RunConfig, cloud: Backbone | None) -> dict[str, Any]:
    """Return the options of the cloud; where a method has none, they are at their defaults."""
    names = [field.name for field in fields(RunConfig) if field.metadata["group"] == "cloud"]
    if cloud is None:
        return {name: getattr(RunConfig, name) for name in names}
    return {name: getattr(config, name) for name in names} | {"cloud_backbone": cloud.name}
