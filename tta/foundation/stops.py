"""Ctrl-C and SIGTERM: work ends where it can go on from, and a second signal ends it at once."""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
BOUNCE = 0.5
"""Seconds in which further signals are the same stop: launchers pass on what a terminal sends."""
STOPPING = "\n{name}: stopping when this batch is done and saved; once more to leave it undone\n"
FORCED = "\n{name}: leaving this batch undone; records are written, once more to leave them too\n"


class _When(enum.Enum):
    """What a signal can break."""

    ANYTHING = enum.auto()
    A_BATCH = enum.auto()
    NOTHING = enum.auto()


class Stopped(KeyboardInterrupt):
    """A signal has ended the work.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = number

    @property
    def name(self) -> str:
        """What the user did, in words."""
        return NAMES.get(self.number, f"signal {self.number}")

    @property
    def status(self) -> int:
        """Exit status, as a shell gives it."""
        return 128 + self.number


class Stops:
    """What is done about signals.

    At first a signal raises :class:`Stopped` where the program stands. Within :meth:`held` the
    first is a wish: :attr:`wanted` says so, and :meth:`obey` raises it. A second breaks the batch
    that is being computed, within :meth:`streaming`, and waits for the end of :meth:`held` where
    records are written. A third ends the process. Signals within :data:`BOUNCE` seconds of one
    that counted do not count.

    Args:
        say: tell on standard error what a signal will do.

    Attributes:
        wanted: what the first signal asks for; None before.
        forced: whether a second one has come.
    """

    def __init__(self, say: bool = True) -> None:
        self.say = say
        self.wanted: Stopped | None = None
        self._breaks = _When.ANYTHING
        self.forced = self._ended = False
        self._latest = -BOUNCE

    def receive(self, number: int, _: object = None) -> None:
        """Take a signal."""
        now = time.monotonic()
        if self._ended or now - self._latest < BOUNCE:
            return
        self._latest = now
        if self._breaks is _When.ANYTHING:
            raise Stopped(number)
        if self.wanted is None:
            self.wanted = Stopped(number)
            self._tell(STOPPING)
        elif not self.forced:
            self.forced = True
            self._tell(FORCED)
            self._force()
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _tell(self, text: str) -> None:
        if self.say and self.wanted is not None:
            with contextlib.suppress(OSError):  # not print(), which must not be entered twice
                os.write(2, text.format(name=self.wanted.name).encode())

    def _force(self) -> None:
        if self.forced and self._breaks is _When.A_BATCH:
            self.obey()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let no signal break what is done within."""
        with self._breaking(_When.NOTHING):
            yield
        self._force()

    @contextlib.contextmanager
    def streaming(self) -> Iterator[None]:
        """Let a second signal break what is done within; to be used within :meth:`held`."""
        with self._breaking(_When.A_BATCH):
            yield

    @contextlib.contextmanager
    def _breaking(self, what: _When) -> Iterator[None]:
        before, self._breaks = self._breaks, what
        try:
            yield
        finally:
            self._breaks = before

    def end(self) -> None:
        """Take no notice of signals any more: all that is left is to say what was kept."""
        self._ended = True

    def obey(self) -> None:
        """Raise what is wanted, where something is.

        Raises:
            Stopped: a signal came.
        """
        if self.wanted is not None:
            raise self.wanted


@contextlib.contextmanager
def listening(say: bool = True) -> Iterator[Stops]:
    """Give what is told of signals until the end of the block.

    Only the main thread can; elsewhere, and where the program has a handler of its own or ignores
    a signal, that is left alone.
    """
    stops = Stops(say)
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {n: handler for n, handler in usual.items() if signal.getsignal(n) == handler}
    try:
        for number in before:
            signal.signal(number, stops.receive)
        yield stops
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(status: int) -> NoReturn:
    """End the program with an exit status; once it was stopped, no signal breaks its end."""
    if status in {128 + number for number in NAMES}:
        for number in NAMES:
            signal.signal(number, signal.SIG_IGN)
    raise SystemExit(status)
