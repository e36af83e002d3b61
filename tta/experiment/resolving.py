"""From options to hyper-parameters and to the stream's own, without importing torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from tta.config import RunConfig
from tta.foundation.stream_options import RANDOM, plain_markov
from tta.methods import find_method
from tta.methods.dense import dense_defaults
from tta.methods.params import build_params, by_name, changed_params, choices_inside
from tta.methods.published import chosen_inside, published_for
from tta.streams import (
    SCENARIO_OPTIONS,
    ScenarioOptions,
    StreamPlan,
    chosen_domains,
    defaults_of,
    one_name,
)
from tta.tasks.aetta import dropout_rate
from tta.tasks.task import SEGMENTATION

if TYPE_CHECKING:
    from tta.backbones.backbone import Backbone
    from tta.datasets import Dataset
    from tta.methods import Method

OWN_SOURCE = "source"
"""What ``--probe`` calls the source images of a run."""


def resolve_params(
    method: type[Method],
    config: RunConfig,
    dataset: Dataset,
    find: Callable[[str], Any] = find_method,
) -> tuple[Any, str]:
    """Return the hyper-parameters of a run and where they come from.

    ``--set`` goes over the preset, the preset over the method's defaults, of which it may have
    others for segmentation. In words, only what it changes counts. ``find`` is that of
    :func:`tta.methods.params.build_params`.
    """
    name, given = preset_of(config, dataset), by_name(config.set)
    published, origin = {}, ""
    if name is not None:
        backbone = config.backbone or dataset.benchmark.backbone or ""
        published, origin = published_for(method, name, backbone, given, find)
    origin = origin or "the method's defaults"
    if getattr(dataset, "task", None) == SEGMENTATION.name:
        published = {**(dense_defaults(method) or {}), **published}
    inside = choices_inside(given)
    usual = build_params(method.Params, {**published, **inside}, method.name, find)
    params = build_params(method.Params, {**published, **given}, method.name, find)
    changed = chosen_inside(method, published, given, find) | changed_params(params, usual)
    if changed:
        origin += ", with " + ", ".join(f"{name}={value}" for name, value in changed.items())
    return params, origin


def preset_of(config: RunConfig, dataset: Dataset) -> str | None:
    """Return the name of the preset that a run asks, or None where it asks none."""
    name = dataset.benchmark.preset if config.preset == "auto" else config.preset
    return None if name == "defaults" else name


def scenario_options(config: RunConfig, batch_size: int | None = None) -> ScenarioOptions:
    """Return the options of the stream.

    Args:
        config: of the run.
        batch_size: in use; None where it is not known yet.
    """
    names = [field.name for field in fields(ScenarioOptions) if field.name != "batch_size"]
    chosen = {name: getattr(config, name) for name in names}
    return ScenarioOptions(**chosen, batch_size=batch_size or ScenarioOptions.batch_size)


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
    by_seed = config.order == RANDOM and len(plan.domains) > 1
    domains = _canonical_domains(config, dataset) if by_seed else plan.domains
    sizes = [len(dataset.labels(domain, severity)) for domain in plan.domains]
    takes_all = config.num_samples is None or config.num_samples >= max(sizes)
    return {
        "domains": list(domains),
        "severity": severity if "severity" in uses else None,
        "num_samples": None if takes_all and dataset.length is None else config.num_samples,
        **unknown_choices(config),
        "order": config.order if by_seed else RunConfig.order,  # which domains above are in
        **_scenario_choices(config, dataset, uses),
        "scenario": one_name(config.scenario),
    }


def _canonical_domains(config: RunConfig, dataset: Dataset) -> tuple[str, ...]:
    """Return the domains as they are without ``--order``: the same for every seed."""
    options = dataclasses.replace(scenario_options(config), order=RunConfig.order)
    return chosen_domains(dataset, options)


def _scenario_choices(config: RunConfig, dataset: Dataset, uses: frozenset[str]) -> dict[str, Any]:
    given, default = config.to_mapping(), RunConfig().to_mapping()
    names = [name for name in SCENARIO_OPTIONS if name != "severity"]
    chosen = {name: (given if name in uses else default)[name] for name in names}
    known = defaults_of(config.scenario, dataset, scenario_options(config))
    for name in ("draws", "most_per_state"):
        if chosen[name] is not None and chosen[name] == known.get(name):
            chosen[name] = None
    return chosen | plain_markov(chosen["markov"], chosen, known)


def unknown_choices(config: RunConfig) -> dict[str, Any]:
    """Return how unknown images are shown beside the known ones; None where there are none."""
    shown = config.unknown is not None
    return {
        "unknown_ratio": (config.unknown_ratio or 1.0) if shown else None,
        "unknown_mix": (config.unknown_mix or "shuffled") if shown else None,
    }


def estimate_dropout(config: RunConfig, backbone: Backbone) -> float | None:
    """Return the share of units that an estimate drops, or None where none does."""
    if "aetta" not in (config.estimate or ()):
        return None
    given = config.estimate_dropout
    return dropout_rate(backbone.num_classes) if given is None else given


def cloud_choices(config: RunConfig, cloud: Backbone | None) -> dict[str, Any]:
    """Return the options of the cloud; where a method has none, they are at their defaults."""
    names = [field.name for field in fields(RunConfig) if field.metadata["group"] == "cloud"]
    if cloud is None:
        return {name: getattr(RunConfig, name) for name in names}
    return {name: getattr(config, name) for name in names} | {"cloud_backbone": cloud.name}
