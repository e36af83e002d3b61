"""The protocol of a run: which batches its method adapts to."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tta.backbones.backbone import Backbone
from tta.backbones.passes import Passes
from tta.config import RunConfig
from tta.datasets import Dataset
from tta.foundation.errors import UserError
from tta.foundation.pacing import PACING
from tta.methods import Method
from tta.methods.window import SlidingWindow
from tta.streams import StreamPlan
from tta.streams.adaptation_set import hold_out
from tta.streams.pacing.costs import TOLERANCE, Cost, CountedCost, GivenCost, MeasuredCost
from tta.streams.pacing.paced import Paced
from tta.streams.pacing.paces import Pace, Periodic, Planned, Rate, StreamRate
from tta.streams.stream import Stream, labels_of

Adapting = Method | SlidingWindow | Paced
"""A method, or what stands around it."""


def with_adaptation_set(config: RunConfig, dataset: Dataset, plan: StreamPlan) -> StreamPlan:
    """Return the plan, parted into images to adapt to and test images where that is asked for.

    Raises:
        UserError: there are too few images or classes.
    """
    if config.adapt_samples is None and config.adapt_classes is None:
        return plan
    places = list(zip(plan.domain.tolist(), plan.severity.tolist(), strict=True))
    sizes = {place: len(dataset.labels(plan.domains[place[0]], place[1])) for place in {*places}}
    return hold_out(
        plan,
        labels_of(dataset, plan),
        np.array([sizes[place] for place in places]),
        config.seed,
        config.adapt_samples,
        config.adapt_classes,
    )


def paced(
    config: RunConfig, method: Method | SlidingWindow, stream: Stream, backbone: Backbone
) -> Adapting:
    """Return the method under the run's protocol: itself, where it adapts to every batch.

    Args:
        config: of the run.
        method: around a copy of the source model.
        stream: that it will see.
        backbone: the source model.
    """
    pace = _pace(config, stream)
    if pace is None:
        return method
    return Paced(
        method,
        pace,
        _cost(config, backbone, method.backbone.passes),
        single_model=config.single_model,
        pooled=config.adapt_from == "pool",
        seed=config.seed,
    )


def _pace(config: RunConfig, stream: Stream) -> Pace | None:
    if config.stream_rate is not None:
        _refuse_single_batches(stream)
        measured = config.cost == "measured"
        return StreamRate(config.stream_rate, TOLERANCE if measured else 0.0)
    if config.adaptation_rate is not None:
        return Rate(config.adaptation_rate, config.adapt_first)
    if config.adapt_every is not None:
        return Periodic(*config.adapt_every)
    adaptation = stream.plan.adaptation
    return None if adaptation is None else Planned(adaptation[stream.edges[:-1]])


def _refuse_single_batches(stream: Stream) -> None:
    starts = stream.edges[:-1]
    if len(starts) > 1 and stream.plan.reset_before[starts].all():
        raise UserError(
            "--stream-rate lets a method miss batches until the next reset, and this scenario "
            "resets before every batch: choose another scenario, or leave --stream-rate out"
        )


def _cost(config: RunConfig, backbone: Backbone, passes: Passes) -> Cost | None:
    if config.stream_rate is None:
        return None
    if config.cost == "counted":
        return CountedCost(passes)
    if isinstance(config.cost, float):
        return GivenCost(config.cost)
    plain = backbone.clone()
    plain.passes = Passes()
    return MeasuredCost(torch.no_grad()(plain), passes, next(plain.parameters()).device)


def pacing_choices(config: RunConfig, plan: StreamPlan) -> dict[str, Any]:
    """Return the options of pacing that may be typed in several ways, in one form."""
    most = config.adapt_samples
    if most is not None and plan.adaptation is not None:
        most = min(most, int(np.bincount(plan.segment[plan.adaptation]).max()))
    all_adapted = config.adaptation_rate == 1
    return {"adapt_samples": most, "adapt_first": config.adapt_first and not all_adapted}


def pace_in_words(config: RunConfig) -> str:
    """Return the options by which some batches only are adapted to, as they are typed."""
    usual = RunConfig()
    names = ("stream_rate", "cost", *PACING[1:])
    given = {name: getattr(config, name) for name in names}
    given = {name: value for name, value in given.items() if value != getattr(usual, name)}
    return " ".join(f"--{name.replace('_', '-')}{_typed(value)}" for name, value in given.items())


def _typed(value: Any) -> str:
    if value is True:
        return ""
    if isinstance(value, tuple):
        return " " + ",".join(map(str, value))
    return f" {value:g}" if isinstance(value, float) else f" {value}"
