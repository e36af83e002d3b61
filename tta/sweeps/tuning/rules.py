"""Rules that choose among finished runs, each by a score of one run; higher is better.

Names and definitions follow Cygert et al., "Realistic evaluation of test-time adaptation: the role
of hyper-parameter selection" (2024), where they are exact enough to follow.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from tta.config import RunConfig
from tta.foundation.errors import UserError, did_you_mean

if TYPE_CHECKING:  # rules are listed without NumPy
    from tta.reporting.records.runs import Run

LABELS = "labels"
"""Rule that is given a number of labels, as in ``labels:100``."""


@dataclass(frozen=True)
class Rule:
    """One way to choose.

    Attributes:
        name: as it is typed.
        meaning: what it goes by, in one line.
        score: of one run, NaN where it cannot be told; None for the rule that looks at the same
            setting on other data sets.
        needs: options that a run must have had; names of ``evidence`` join those that it has.
        oracle: whether it sees all labels of the stream, as no user does.
        labels: known images whose labels it is shown; None for none, or for all.
    """

    name: str
    meaning: str
    score: Callable[[Run], float] | None
    needs: Mapping[str, Any] = field(default_factory=dict)
    oracle: bool = False
    labels: int | None = None


def accuracy(run: Run) -> float:
    """Return the mean accuracy over visits to domains, the figure that tables show, or NaN.

    Of segmentation it is the mean mIoU.
    """
    if run.task.headline.better == "higher":
        return _number(run.summary[f"mean_{run.task.headline.name}"])
    return _number(run.summary["mean_accuracy"])


def _of_probe(run: Run) -> float:
    probe = run.summary.get("probe")
    return _number(probe["mean"]) if probe else math.nan


def _entropy(run: Run) -> float:
    """Return minus the mean entropy over all images, of which every visit has its mean."""
    rows = run.summary["domains"]
    total = sum(_number(row.get("entropy")) * row["samples"] for row in rows)
    return -total / sum(row["samples"] for row in rows)


def _of_evidence(name: str, run: Run) -> float:
    return _number(run.summary.get("evidence", {}).get(name))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def labelled_accuracy(count: int, run: Run) -> float:
    """Return the accuracy on ``count`` images of the stream, which the run's seed draws.

    They are the same images for every run on the same stream; all of a stream that has no more.
    Unknown images have no label to give: they are not among those that are drawn. Of segmentation
    it is the mIoU of the images' summed matrix.
    """
    import numpy as np

    from tta.tasks.confusion import mean_iou

    maps = run.matrices()
    if maps is not None:
        order = np.random.default_rng(run.summary["seed"]).permutation(len(maps.matrix))
        return float(mean_iou(maps.matrix[order[:count]].sum(0)))
    samples = run.samples()
    if samples is None:
        return math.nan
    correct = samples.correct if samples.known is None else samples.correct[samples.known]
    order = np.random.default_rng(run.summary["seed"]).permutation(len(correct))
    return float(correct[order[:count]].mean())


def _by_evidence(name: str, meaning: str) -> Rule:
    return Rule(name, meaning, partial(_of_evidence, name), {"evidence": (name,)})


RULES = {
    rule.name: rule
    for rule in (
        Rule(
            "source",
            "accuracy on source images of the model as adapted, after each domain",
            _of_probe,
            {"probe": "source"},
        ),
        Rule("entropy", "least mean entropy of the outputs; a collapse looks best", _entropy),
        _by_evidence(
            "consistency", "share of images of the same class when they are moved by a few pixels"
        ),
        _by_evidence("snd", "soft neighbourhood density: how many outputs each is like, by domain"),
        _by_evidence(
            "infomax", "entropy of the mean output less mean entropy: certain, of many classes"
        ),
        Rule("transfer", "accuracy of the same setting on the grid's other data sets", None),
        Rule(
            "oracle",
            "accuracy on the stream: sees all labels, and is marked so",
            accuracy,
            oracle=True,
        ),
    )
}
"""Rules by name, but for ``labels:N``."""
LABELS_MEANING = "accuracy on N known images of the stream, drawn at random by the seed"


def labels_rule(count: int) -> Rule:
    """Return the rule that is shown the labels of ``count`` images."""
    score = partial(labelled_accuracy, count)
    return Rule(f"{LABELS}:{count}", LABELS_MEANING, score, labels=count)


def meanings() -> dict[str, str]:
    """Return what each rule goes by, in the order in which ``all`` has them."""
    *rules, oracle = RULES.values()
    listed = {rule.name: rule.meaning for rule in rules}
    return {**listed, f"{LABELS}:N": LABELS_MEANING, oracle.name: oracle.meaning}


def every_rule(with_transfer: bool) -> list[Rule]:
    """Return the rules that ``all`` stands for, the oracle last."""
    *rules, oracle = RULES.values()
    rules = [rule for rule in rules if with_transfer or rule.name != "transfer"]
    return [*rules, labels_rule(100), oracle]


def parse_rules(text: str, datasets: int) -> list[Rule]:
    """Return the rules that ``--select`` names, each once.

    Args:
        text: names with commas between; ``all`` is one.
        datasets: in the grid; ``transfer`` needs two.

    Raises:
        UserError: an unknown name, or a rule that the grid has nothing for.
    """
    names = [name.strip() for name in text.split(",")]
    rules = [rule for name in names for rule in _rules(name, datasets > 1)]
    if datasets < 2 and any(rule.score is None for rule in rules):
        raise UserError(
            "--select transfer goes by the labels of another data set: put two or more into the "
            "grid, as in dataset: [cifar10-c, cifar100-c]"
        )
    return list({rule.name: rule for rule in rules}.values())


def _rules(name: str, with_transfer: bool) -> list[Rule]:
    return every_rule(with_transfer) if name == "all" else [_rule(name)]


def _rule(name: str) -> Rule:
    kind, colon, number = name.partition(":")
    if kind == LABELS and colon:
        if not number.isdecimal() or len(number) > 9 or int(number) < 1:
            raise UserError(f"--select labels:N takes whole numbers N above 0, not {name[:50]!r}")
        return labels_rule(int(number))
    if name not in RULES:
        known = (*RULES, f"{LABELS}:100", "all")
        raise UserError(f"--select has no rule {name[:100]!r}; {did_you_mean(name, known)}")
    return RULES[name]


def with_needs(config: RunConfig, rules: Sequence[Rule]) -> RunConfig:
    """Return a configuration that records what the rules need.

    Raises:
        UserError: it has another value of an option that a rule needs: the rule would go by
            something else than it says.
    """
    needed: dict[str, Any] = {}
    for rule in rules:
        for name, value in rule.needs.items():
            before = needed.get(name) or getattr(config, name)
            if isinstance(value, tuple):
                needed[name] = (*(before or ()), *value)
            elif before in (None, value):
                needed[name] = value
            else:
                raise UserError(
                    f"--select {rule.name} goes by --{name} {value}, and the grid has --{name} "
                    f"{before}, which may show what no user sees; leave one of them out"
                )
    return dataclasses.replace(config, **needed)
