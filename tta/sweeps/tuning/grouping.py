"""Runs of a grid, grouped by what a rule chooses among: settings of one method in one protocol."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tta.config import RunConfig
from tta.reporting.records.runs import Run
from tta.streams import one_name
from tta.sweeps.tuning.rules import Rule, accuracy

NAMED = ("method", "dataset", "scenario")
"""Options that every group is called by."""
Cell = tuple[RunConfig, Run | None]
"""The configuration of a run, and its record; None where it failed."""


@dataclass(frozen=True)
class Setting:
    """One value of each hyper-parameter, with its runs.

    Attributes:
        values: by name, those that differ within the group.
        runs: by seed.
        typed: the forms in which the grid has it.
    """

    values: dict[str, Any]
    runs: dict[int, Run]
    typed: tuple[dict[str, Any], ...]

    @property
    def accuracy(self) -> float:
        """Mean over its seeds."""
        return fmean(map(accuracy, self.runs.values()))

    @property
    def collapsed(self) -> bool:
        """Whether one of its runs is marked so."""
        runs = self.runs.values()
        return any(run.summary.get("collapsed_at_batch") is not None for run in runs)

    def score(self, rule: Rule) -> float:
        """Return the mean score over its seeds, NaN where that of one cannot be told."""
        return fmean(rule.score(run) for run in self.runs.values()) if rule.score else math.nan


@dataclass(frozen=True)
class Group:
    """Settings of one method in one protocol: what a rule chooses among.

    Attributes:
        config: of its runs, without hyper-parameters and seed.
        facts: what it is called by: method, data set, scenario, and what else differs in the grid.
        seeds: of every setting.
        settings: in the grid's order.
        left_out: settings of which a run is missing, or has no accuracy.
    """

    config: RunConfig
    facts: dict[str, Any]
    seeds: tuple[int, ...]
    settings: tuple[Setting, ...]
    left_out: tuple[dict[str, Any], ...]


def group_runs(runs: Iterable[Cell]) -> list[Group]:
    """Return groups of runs that differ in hyper-parameters and seeds alone, in their order.

    Equal runs are one, however they were typed.

    Args:
        runs: configurations of the cells, with their records; None for one that failed.
    """
    typed: dict[str, list[Cell]] = {}
    for config, run in runs:
        typed.setdefault(str(_kind(config)), []).append((config, run))
    kinds: dict[str, list[Cell]] = {}
    for cells in typed.values():
        kinds.setdefault(_resolved_kind(cells), []).extend(cells)
    configs = [_kind(cells[0][0]) for cells in kinds.values()]
    names = (*NAMED, *_differing(configs))
    return [_group(*pair, names) for pair in zip(configs, kinds.values(), strict=True)]


def _kind(config: RunConfig) -> RunConfig:
    return dataclasses.replace(config, set={}, seed=0, scenario=one_name(config.scenario))


def _resolved_kind(cells: Sequence[Cell]) -> str:
    """Return what cells of one kind are, but for their hyper-parameters, as one of them ran."""
    config = cells[0][0]
    found = next((run.config for _, run in cells if run and run.config), None)
    if found is None:
        return str(_kind(config))
    # Whether source images are read may be up to a hyper-parameter.
    passed_over = {"set", "seed", "scenario", "source", *RunConfig.UNRECORDED}
    facts = {name: value for name, value in found.items() if name not in passed_over}
    return str([one_name(config.scenario), config.source, sorted(facts.items())])


def _differing(configs: Sequence[RunConfig]) -> list[str]:
    fields = [field.name for field in dataclasses.fields(RunConfig) if field.name not in NAMED]
    return [name for name in fields if len({str(getattr(one, name)) for one in configs}) > 1]


def _group(config: RunConfig, cells: Sequence[Cell], names: Sequence[str]) -> Group:
    seeds = tuple(dict.fromkeys(one.seed for one, _ in cells))
    settings = _settings(cells)
    whole = [len(one.runs) == len(seeds) and not math.isnan(one.accuracy) for one in settings]
    return Group(
        config,
        {name: getattr(config, name) for name in names},
        seeds,
        tuple(itertools.compress(settings, whole)),
        tuple(one.values for one, is_whole in zip(settings, whole, strict=True) if not is_whole),
    )


def _settings(cells: Sequence[Cell]) -> list[Setting]:
    """Return the settings of cells, with the runs that there are."""
    resolved = {str(one.set): run.config["set"] for one, run in cells if run and run.config}
    shared = _shared(resolved.values())
    members: dict[str, list[Cell]] = {}
    known: dict[str, dict[str, Any]] = {}
    for cell in cells:
        values = resolved.get(str(cell[0].set), {**shared, **cell[0].set})
        known[str(values)] = values
        members.setdefault(str(values), []).append(cell)
    tuned = _tuned(known.values())
    return [
        Setting(
            {name: known[key].get(name) for name in tuned},
            {one.seed: run for one, run in found if run},
            tuple({str(one.set): one.set for one, _ in found}.values()),
        )
        for key, found in members.items()
    ]


def _shared(settings: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the hyper-parameters that are the same in all settings."""
    settings = list(settings)
    return {k: v for one in settings[:1] for k, v in one.items() if k not in _tuned(settings)}


def _tuned(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    settings = list(settings)
    names = dict.fromkeys(name for values in settings for name in values)
    return [name for name in names if len({repr(values.get(name)) for values in settings}) > 1]
