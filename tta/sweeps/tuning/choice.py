"""What each rule chooses in a grid, and how far that is from the best there is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from tta.sweeps.tuning.grouping import Group, Setting
from tta.sweeps.tuning.rules import Rule


@dataclass(frozen=True)
class Choice:
    """What a rule has chosen.

    Attributes:
        rule: the rule.
        setting: that it chose, the earliest of the best; None where no score can be told.
        gap: accuracy of the best setting minus that of the chosen one, a fraction.
        correlation: Spearman's, of scores and accuracies over the settings that have a score; NaN
            where one of both is the same throughout.
    """

    rule: Rule
    setting: Setting | None
    gap: float
    correlation: float


def choose(group: Group, rule: Rule, groups: Sequence[Group]) -> Choice:
    """Return what a rule chooses in a group that has settings.

    Args:
        group: to choose in.
        rule: to choose by.
        groups: of the grid, for a rule that looks at other data sets.
    """
    if rule.score is None:
        scores = _elsewhere(group, groups)
    else:
        scores = [setting.score(rule) for setting in group.settings]
    pairs = zip(scores, group.settings, strict=True)
    scored = [(score, setting) for score, setting in pairs if math.isfinite(score)]
    if not scored:
        return Choice(rule, None, math.nan, math.nan)
    # The first of the best: ties go to the earliest in the grid.
    _, chosen = max(scored, key=lambda pair: pair[0])
    gap = max(setting.accuracy for setting in group.settings) - chosen.accuracy
    accuracies = [setting.accuracy for _, setting in scored]
    return Choice(rule, chosen, gap, spearman([score for score, _ in scored], accuracies))


def _elsewhere(group: Group, groups: Sequence[Group]) -> list[float]:
    """Return the mean accuracy of each setting on the grid's other data sets.

    Only of data sets that have all settings: else their means were of different ones.
    """
    here = _beside_data(group)
    others = [other for other in groups if other is not group and _beside_data(other) == here]
    tables = [[_same(setting, other) for setting in group.settings] for other in others]
    whole = [[one.accuracy for one in table if one] for table in tables if all(table)]
    return [fmean(column) for column in zip(*whole, strict=True)] or [math.nan] * len(
        group.settings
    )


def _same(setting: Setting, other: Group) -> Setting | None:
    """Return the setting of another group that was typed alike."""
    same = (one for one in other.settings if any(typed in one.typed for typed in setting.typed))
    return next(same, None)


def _beside_data(group: Group) -> dict[str, Any]:
    return {name: value for name, value in group.config.to_mapping().items() if name != "dataset"}


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation, ties at their mean rank; NaN where one is constant, as
    of fewer than two values."""
    ranks = [pd.Series(values).rank().to_numpy() for values in (first, second)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])
