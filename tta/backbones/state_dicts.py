"""Finding the weights of a network inside a checkpoint, under whatever names they are wrapped."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tta.foundation.errors import UserError

_DEPTH = 5
_AVERAGED = re.compile(r"(^|[^a-z])(ema|swa|averaged?|avg|mean|polyak|shadow|teacher)(?=[^a-z]|$)")
_WRAPPERS = re.compile(
    r"(module|_orig_mod|model|net|network|backbone|encoder|base_model|timm_model|student|teacher"
    r"|ema_model|online_model|classifier_model|feature_extractor)\."
)


@dataclass(frozen=True)
class StateDict:
    """Tensors by name, as a checkpoint holds them.

    Attributes:
        place: the keys that lead to them, joined by dots; empty at the top.
        tensors: by name.
    """

    place: str
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class Network:
    """The weights of one network in a checkpoint.

    Attributes:
        place: see :class:`StateDict`.
        prefix: what its names begin with, up to and with a dot; or empty.
        tensors: by name, without the prefix.
        rest: what else is beside it, by full name.
    """

    place: str
    prefix: str
    tensors: dict[str, Tensor]
    rest: dict[str, Tensor]

    @property
    def averaged(self) -> bool:
        """Whether it is called an average of trained weights (EMA, SWA, a mean teacher)."""
        counted = any(key.rpartition(".")[2] == "n_averaged" for key in self.rest)
        return counted or _AVERAGED.search(f"{self.place} {self.prefix}".lower()) is not None

    @property
    def label(self) -> str:
        """Where it is, in words."""
        where = [f"under {self.place!r}"] if self.place else []
        where += [f"with prefix {self.prefix!r}"] if self.prefix else []
        return " ".join(where) or "at the top"


def state_dicts(content: Any) -> list[StateDict]:
    """Return every mapping of names to tensors in ``content``, but for an optimizer's."""
    return list(_walk(content, (), set()))


def _walk(content: Any, place: tuple[str, ...], seen: set[int]) -> Iterator[StateDict]:
    if not isinstance(content, Mapping) or id(content) in seen or "param_groups" in content:
        return
    seen.add(id(content))
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    tensors = {key: value for key, value in named.items() if isinstance(value, Tensor)}
    if tensors:
        yield StateDict(".".join(place), tensors)
    for key, value in named.items():
        if len(place) < _DEPTH:
            yield from _walk(value, (*place, key), seen)


def networks(found: Sequence[StateDict], body: Collection[str]) -> list[Network]:
    """Return the networks that have all names of ``body``, under one prefix each."""
    return [network for state in found for network in _networks_in(state, body)]


def _networks_in(state: StateDict, body: Collection[str]) -> list[Network]:
    if not body:
        return [Network(state.place, "", state.tensors, {})]
    probe = max(body, key=len)
    starts = {key.removesuffix(probe) for key in state.tensors if key.endswith(probe)}
    prefixes = [
        start
        for start in sorted(starts)
        if (not start or start.endswith("."))
        and all(f"{start}{key}" in state.tensors for key in body)
    ]
    return [_network(state, prefix, prefixes) for prefix in prefixes]


def _network(state: StateDict, prefix: str, prefixes: Sequence[str]) -> Network:
    """Return one network; what belongs to others in the same state dict is not beside it."""
    root = prefix.partition(".")[0]
    others = {other.partition(".")[0] for other in prefixes if other} - {root}
    mine = {
        key: value for key, value in state.tensors.items() if key.partition(".")[0] not in others
    }
    inside = {key.removeprefix(prefix): mine[key] for key in mine if key.startswith(prefix)}
    rest = {key: value for key, value in mine.items() if not key.startswith(prefix)}
    return Network(state.place, prefix, inside, {} if "" in prefixes else rest)


def choose(found: Sequence[Network], kind: str, path: str) -> tuple[Network, str]:
    """Return the network to load, and in words what was chosen from.

    Args:
        found: at least one.
        kind: ``raw``, ``ema`` or ``auto``: ``raw`` where both are there.
        path: the file, for messages.

    Raises:
        UserError: there is none of that kind, or several that differ.
    """
    averaged = [network for network in found if network.averaged]
    raw = [network for network in found if not network.averaged]
    wanted = {"raw": raw, "ema": averaged, "auto": raw or averaged}[kind]
    if not wanted:
        raise UserError(
            f"checkpoint {path} holds no {_WORDS[kind]} weights of this architecture, only "
            f"{_WORDS['raw' if kind == 'ema' else 'ema']} ones {found[0].label}; leave "
            "--weights-kind out"
        )
    if any(not _same(wanted[0], other) for other in wanted[1:]):
        labels = ", ".join(network.label for network in wanted)
        raise UserError(
            f"checkpoint {path} holds {len(wanted)} networks of this architecture ({labels}); save "
            "the state dict of the one to be tested"
        )
    return wanted[0], _choice(wanted[0], raw, averaged)


_WORDS = {"raw": "raw", "ema": "averaged"}


def _choice(chosen: Network, raw: Sequence[Network], averaged: Sequence[Network]) -> str:
    if not averaged:
        return ""
    if not raw:
        return "averaged weights"
    kind, other, there = ("ema", "raw", raw) if chosen.averaged else ("raw", "ema", averaged)
    return (
        f"{_WORDS[kind]} weights, and there are {_WORDS[other]} ones {there[0].label}: "
        f"--weights-kind {other}"
    )


def _same(one: Network, other: Network) -> bool:
    return one.tensors.keys() == other.tensors.keys() and all(
        value.shape == other.tensors[key].shape and torch.equal(value, other.tensors[key])
        for key, value in one.tensors.items()
    )


def without_wrappers(tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Return the prefix of wrappers that all names share, and the tensors without it."""
    prefix = ""
    while found := _WRAPPERS.match(next(iter(tensors), "")):
        if not all(key.startswith(found[0]) for key in tensors):
            break
        prefix += found[0]
        tensors = {key.removeprefix(found[0]): value for key, value in tensors.items()}
    return prefix, dict(tensors)
