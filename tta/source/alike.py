"""Whether networks are so alike that their weights can be averaged, or taken from each other."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor

from tta.backbones.backbone import Backbone
from tta.backbones.network_facts import difference_in_facts
from tta.foundation.errors import UserError

State = Mapping[str, Tensor]
LEAST_COSINE = 0.1
"""Mean cosine of weight matrices below which networks did not start alike: of unrelated ones it is
0 but for chance."""
MERGED = "merged with"
"""What networks are for where weights are averaged, as messages say it."""
COMPARED = "compared with"
"""Likewise where differences of weights are taken."""


def check_networks(networks: Mapping[str, Backbone], purpose: str = MERGED) -> None:
    """Refuse networks whose weights do not mean the same, or did not start from the same.

    Args:
        networks: by a name for messages, at least one.
        purpose: what the second of two cannot be, for messages: :data:`MERGED`, :data:`COMPARED`.

    Raises:
        UserError: see :func:`check_alike`; or they compute differently, see
            :func:`tta.backbones.network_facts.difference_in_facts`.
    """
    (first, expected), *others = networks.items()
    for name, network in others:
        if words := difference_in_facts(expected, network):
            raise UserError(
                f"{name} cannot be {purpose} {first}: {words}; choose files of one origin"
            )
    check_alike({name: one.model.state_dict() for name, one in networks.items()}, purpose)


def check_alike(
    states: Mapping[str, State], purpose: str = MERGED, least: float = LEAST_COSINE
) -> None:
    """Refuse networks whose weights cannot be averaged, or taken from each other.

    Args:
        states: by a name for messages, at least one.
        purpose: see :func:`check_networks`.
        least: mean cosine of the weight matrices of two of them; 0 or below passes over where they
            started.

    Raises:
        UserError: there are other tensors in one, tensors of another shape, or it did not start
            from the same initialisation.
    """
    (first, expected), *others = states.items()
    for name, state in others:
        if fault := _other_tensors(expected, state):
            raise UserError(
                f"{name} cannot be {purpose} {first}: {fault}; choose networks of one "
                "architecture, for the same classes"
            )
    for (one, left), (other, right) in itertools.combinations(states.items(), 2):
        found = mean_cosine(left, right)
        if found < least:
            raise UserError(
                f"{other} cannot be {purpose} {one}: their weights have a mean cosine of "
                f"{found:.2f}, below {least:g}, as of networks that started from other weights; "
                "choose networks that were fine-tuned from the same ones"
            )


def _other_tensors(expected: State, state: State) -> str:
    """Return how the names or shapes of two state dicts differ; empty where they do not."""
    missing = [key for key in expected if key not in state]
    more = [key for key in state if key not in expected]
    if missing or more:
        return "; ".join(
            f"it {verb} {len(keys)} tensors, {keys[0]!r} first"
            for verb, keys in (("lacks", missing), ("has further", more))
            if keys
        )
    for key, value in expected.items():
        if value.shape != state[key].shape:
            return f"{key!r} has shape {list(state[key].shape)}, not {list(value.shape)}"
    return ""


def mean_cosine(one: State, other: State) -> float:
    """Return the cosine between tensors of at least two dimensions, averaged; 1 without any."""
    pairs = [
        (value.flatten().double(), other[key].flatten().double())
        for key, value in one.items()
        if value.dim() > 1 and value.is_floating_point()
    ]
    cosines = [torch.cosine_similarity(a, b, dim=0) for a, b in pairs]
    return float(torch.stack(cosines).mean()) if cosines else 1.0
