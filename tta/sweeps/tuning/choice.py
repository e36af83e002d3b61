"""What each rule chooses in a grid, and how far that is from the best there is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from tta.config import RunConfig
from tta.reporting.records.runs import Run
from tta.sweeps.tuning.rules import Rule, accuracy

NAMED = ("method", "dataset", "scenario")
"""Options that every group is called by."""


@dataclass(frozen=True)
class Setting:
    """One value of each hyper-parameter, with its runs.

    Attributes:
        values: by name, those that differ within the group.
        runs: by seed.
    """

    values: dict[str, Any]
    runs: dict[int, Run]

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
        left_out: settings of which a run is missing.
    """

    config: RunConfig
    facts: dict[str, Any]
    seeds: tuple[int, ...]
    settings: tuple[Setting, ...]
    left_out: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Choice:
    """What a rule has chosen.

    Attributes:
        rule: the rule.
        setting: that it chose, the earliest of the best; None where no score can be told.
        gap: accuracy of the best setting minus that of the chosen one, a fraction.
        correlation: Spearman's, of scores and accuracies over the settings; NaN where one of both
            is the same throughout.
    """

    rule: Rule
    setting: Setting | None
    gap: float
    correlation: float


def group_runs(runs: Iterable[tuple[RunConfig, Run | None]]) -> list[Group]:
    """Return groups of runs that differ in hyper-parameters and seeds alone, in their order.

    Args:
        runs: configurations of the cells, with their records; None for one that failed.
    """
    kinds: dict[str, list[tuple[RunConfig, Run | None]]] = {}
    for config, run in runs:
        kinds.setdefault(str(_kind(config)), []).append((config, run))
    configs = [_kind(members[0][0]) for members in kinds.values()]
    names = (*NAMED, *_differing(configs))
    made = zip(configs, kinds.values(), strict=True)
    return [_group(config, names, members) for config, members in made]


def _kind(config: RunConfig) -> RunConfig:
    return dataclasses.replace(config, set={}, seed=0)


def _differing(configs: Sequence[RunConfig]) -> list[str]:
    fields = [field.name for field in dataclasses.fields(RunConfig) if field.name not in NAMED]
    return [name for name in fields if len({str(getattr(one, name)) for one in configs}) > 1]


def _group(
    config: RunConfig, names: Sequence[str], members: list[tuple[RunConfig, Run | None]]
) -> Group:
    seeds = tuple(dict.fromkeys(one.seed for one, _ in members))
    every = {str(one.set): one.set for one, _ in members}
    tuned = _tuned(every.values())
    found = {
        key: {one.seed: run for one, run in members if str(one.set) == key and run} for key in every
    }
    shown = {key: {name: values.get(name) for name in tuned} for key, values in every.items()}
    whole = [key for key in every if len(found[key]) == len(seeds)]
    return Group(
        config,
        {name: getattr(config, name) for name in names},
        seeds,
        tuple(Setting(shown[key], found[key]) for key in whole),
        tuple(shown[key] for key in every if key not in whole),
    )


def _tuned(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    settings = list(settings)
    names = dict.fromkeys(name for values in settings for name in values)
    return [name for name in names if len({repr(values.get(name)) for values in settings}) > 1]


def choose(group: Group, rule: Rule, groups: Sequence[Group]) -> Choice:
    """Return what a rule chooses in a group that has settings.

    Args:
        group: to choose in.
        rule: to choose by.
        groups: of the grid, for a rule that looks at other data sets.
    """
    accuracies = [setting.accuracy for setting in group.settings]
    scores = [setting.score(rule) for setting in group.settings]
    if rule.score is None:
        scores = [_elsewhere(setting, group, groups) for setting in group.settings]
    ranked = [-math.inf if math.isnan(score) else score for score in scores]
    best = ranked.index(max(ranked))  # the first: ties go to the earliest in the grid
    if max(ranked) == -math.inf:
        return Choice(rule, None, math.nan, math.nan)
    gap = max(accuracies) - accuracies[best]
    return Choice(rule, group.settings[best], gap, spearman(ranked, accuracies))


def _elsewhere(setting: Setting, group: Group, groups: Sequence[Group]) -> float:
    """Return the mean accuracy of a setting on the grid's other data sets."""
    here = _beside_data(group)
    others = [other for other in groups if other is not group and _beside_data(other) == here]
    found = [
        one.accuracy for other in others for one in other.settings if one.values == setting.values
    ]
    return fmean(found) if found else math.nan


def _beside_data(group: Group) -> dict[str, Any]:
    return {name: value for name, value in group.config.to_mapping().items() if name != "dataset"}


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation, ties at their mean rank; NaN where one is constant."""
    ranks = [pd.Series(values).rank().to_numpy() for values in (first, second)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])
