"""Runs that share a stream: what each of them takes, told apart from what the others take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tta.experiment.observing.memory import PeakMemory
from tta.experiment.observing.recorder import Recorder
from tta.foundation.clocks import clock_of
from tta.streams.loop import Part
from tta.streams.stream import Batch, Stream


class Company:
    """One stream and the runs that see it, each batch made once for all.

    A run is charged with the wait for each batch, which is shorter than alone where images are made
    ahead during the turns of others, and with its own turn. On a CPU its
    memory is looked at in its turns 1, 2, 4, 8 and so on, as setting back the peak of a process
    takes time; on a GPU in all.

    Args:
        stream: that they share.
        method_bytes: that each method has taken to be made.

    Attributes:
        runs: how many there are: those that were finished before need no batches.
    """

    def __init__(self, stream: Stream, method_bytes: Sequence[int]) -> None:
        self.stream, self.method_bytes = stream, method_bytes
        self.runs = 0
        self._clock = clock_of(stream.device)
        self._making: tuple[Any, Any] | None = None

    @property
    def is_several(self) -> bool:
        """Whether more than one run was asked to share the stream."""
        return len(self.method_bytes) > 1

    def join(self, own: int) -> PeakMemory:
        """Count a run that will see batches, and follow its memory from here on.

        Args:
            own: of ``method_bytes``.
        """
        self.runs += 1
        return PeakMemory(self.stream.device, own, sum(self.method_bytes) - own)

    def batches(self, position: int) -> Iterator[Batch]:
        """Yield the batches that start at ``position`` of the stream or later."""
        made = self.stream.batches(position)
        if not self.is_several:
            yield from made
            return
        while True:
            started = self._clock.mark()
            batch = next(made, None)
            if batch is None:
                return
            self._making = started, self._clock.mark()
            yield batch
            del batch

    def part(self, part: Part, recorder: Recorder, memory: PeakMemory) -> Part:
        """Return a run's part in the stream, whose records know only of its own turns.

        Args:
            part: see :func:`tta.streams.loop.adapting`.
            recorder: of the run.
            memory: of the run, since it has begun.
        """
        return self._apart(part, recorder, memory) if self.is_several else part

    def _apart(self, part: Part, recorder: Recorder, memory: PeakMemory) -> Part:
        wants, turn = next(part), 0
        while True:
            recorder.clock.settle()
            with recorder.apart():
                memory.leave()
                batch = yield wants
                turn += 1
                recorder.is_alone = self.runs == 1
                if self.stream.device.type != "cpu" or turn.bit_count() == 1:
                    memory.enter()
            if batch is not None and self._making is not None:
                recorder.charge(self._making)
            try:
                wants = part.send(batch)
            except StopIteration as end:
                return end.value
            del batch
