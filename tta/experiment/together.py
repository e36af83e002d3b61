"""Several runs on one stream, each batch of which is made once for as many as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tta.config import RunConfig
from tta.experiment.assembly import build_several
from tta.experiment.built import Experiment
from tta.experiment.execution import run_experiments
from tta.foundation.errors import UserError
from tta.foundation.stops import Stops

End = tuple[int, dict[str, Any] | Exception]
"""The number of a configuration, and its summary or what it raised."""
SHARE_OF_MEMORY = 0.5
"""Of what is free, for the models of runs that go together."""


def run_together(
    configs: Sequence[RunConfig],
    progress: bool = False,
    stops: Stops | None = None,
    *,
    share_of_memory: float = SHARE_OF_MEMORY,
    shown: Callable[[Sequence[Experiment]], None] = lambda _: None,
) -> Iterator[End]:
    """Yield how every run has ended, in passes over the stream.

    Runs whose options let them not share a stream, see :attr:`tta.config.RunConfig.stream_key`,
    have passes of their own; so has one that is the same as another.

    Args:
        configs: alike but for :data:`tta.config.OF_A_METHOD`.
        progress: show it on standard error.
        stops: what is told of signals; None leaves them alone.
        share_of_memory: that the models of a pass may take of what is free.
        shown: is shown the runs of each pass before it begins.

    Raises:
        KeyboardInterrupt: see :func:`tta.experiment.execution.run`.
    """
    waiting = list(range(len(configs)))
    while waiting:
        asked = waiting if configs[waiting[0]].stream_key is not None else waiting[:1]
        made = _made([configs[number] for number in asked], share_of_memory)
        waiting = waiting[len(made) :]
        runs: dict[int, Experiment] = {}
        for number, one in zip(asked, made, strict=False):
            if isinstance(one, Exception):
                yield number, one
            elif _writes_with(one, runs.values()):
                waiting.insert(0, number)
            else:
                runs[number] = one
        if runs:
            shown(list(runs.values()))
            ends = dict(
                zip(runs, run_experiments(list(runs.values()), progress, stops), strict=True)
            )
            stopped = [end for end in ends.values() if not isinstance(end, Exception | dict)]
            yield from ((number, end) for number, end in ends.items() if end not in stopped)
            if stopped:
                raise stopped[0]


def _made(configs: Sequence[RunConfig], share_of_memory: float) -> Sequence[Experiment | Exception]:
    try:
        return build_several(configs, share_of_memory=share_of_memory)
    except Exception as error:  # noqa: BLE001  of the parts that all of them share
        return [error] * len(configs)


def _writes_with(run: Experiment, others: Iterable[Experiment]) -> bool:
    """Return whether a run has the directory of another one: it is the same, typed otherwise."""
    try:
        return any(run.path() == other.path() for other in others)
    except UserError:  # data that cannot be read: so will the run itself say
        return False
