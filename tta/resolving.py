"""From options to hyper-parameters and to the stream's own, without importing torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tta.config import RunConfig
from tta.methods.params import build_params
from tta.presets import published_params
from tta.scenarios import ScenarioOptions

if TYPE_CHECKING:
    from tta.datasets import Dataset
    from tta.methods import Method


def resolve_params(method: type[Method], config: RunConfig, dataset: Dataset) -> tuple[Any, str]:
    """Return the hyper-parameters of a run and where they come from.

    ``--set`` goes over the preset, the preset over the method's defaults.
    """
    name = dataset.preset if config.preset == "auto" else config.preset
    published, origin = {}, ""
    if name not in (None, "defaults"):
        backbone = config.backbone or dataset.backbone or ""
        published, origin = published_params(name, method.name, backbone)
    origin = origin or "the method's defaults"
    values = {**published, **config.set}
    if config.set:
        origin += ", with " + ", ".join(f"{key}={value}" for key, value in config.set.items())
    return build_params(method.Params, values, method.name), origin


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
