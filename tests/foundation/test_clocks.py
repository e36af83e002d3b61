"""Clocks: that of events does not wait where it is marked."""

import torch

from tta.foundation import clocks
from tta.foundation.clocks import EventClock, HostClock, clock_of


class FakeEvent:
    """Takes a second of the device each, which is over when somebody waits for it."""

    made: list = []

    def __init__(self):
        self.made.append(self)
        self.number, self.is_over = len(self.made), False

    def synchronize(self):
        self.is_over = True

    def elapsed_time(self, other):
        assert other.is_over
        return 1000.0 * (other.number - self.number)


def test_events_are_waited_for_when_seconds_are_asked_for():
    clock = EventClock(FakeEvent)
    marks = [clock.mark() for _ in range(3)]
    clock.settle()
    assert not any(mark.is_over for mark in marks)
    assert clock.seconds(marks[0], marks[2]) == 2.0
    assert [mark.is_over for mark in marks] == [False, False, True]


def test_the_host_keeps_its_clock(monkeypatch):
    now = iter([1.0, 1.5])
    monkeypatch.setattr(clocks.time, "perf_counter", lambda: next(now))
    clock = clock_of("cpu")
    assert isinstance(clock, HostClock)
    start, stop = clock.mark(), clock.mark()
    assert clock.seconds(start, stop) == 0.5


def test_each_kind_of_device_is_waited_for_in_its_way(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    for name in ("cpu", "cuda:1", "mps"):
        clocks.synchronize(torch.device(name))
    assert waited == [torch.device("cuda:1"), "mps"]
    clock = clock_of("mps")
    assert isinstance(clock, HostClock)
    clock.settle()
    assert waited[-1] == "mps"
