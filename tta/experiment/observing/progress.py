"""How far a run is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Protocol

from tqdm import tqdm

LINE_INTERVAL = 30.0
"""Seconds between two lines, where standard error is no terminal."""


class Progress(Protocol):
    """Shows how far a run is."""

    def go_on_from(self, seen: int) -> None:
        """Count from here: ``seen`` images were streamed before, at another time."""

    def show(self, count: int, domain: str, figures: Mapping[str, str]) -> None:
        """Show that ``count`` images more were streamed, the last of them of ``domain``."""

    def close(self) -> None:
        """End the display."""


def make_progress(shown: bool, total: int, label: str = "") -> Progress:
    """Return what shows the progress through ``total`` images on standard error.

    Args:
        shown: whether it is.
        total: images of the stream.
        label: stands before what is shown, where several runs show theirs.
    """
    before = f"{label}, " if label else ""
    lines = shown and not sys.stderr.isatty()
    return Lines(total, before) if lines else Bar(total, shown, before)


class Bar:
    """A bar, redrawn in place; nothing where it is not ``shown``."""

    def __init__(self, total: int, shown: bool, before: str = "") -> None:
        self.total, self.shown, self.before = total, shown, before
        self._bar = self._drawn(0)

    def _drawn(self, seen: int) -> tqdm:
        return tqdm(
            total=self.total, initial=seen, unit="img", disable=not self.shown, smoothing=0.1
        )

    def go_on_from(self, seen: int) -> None:
        self._bar.leave = False
        self._bar.close()
        self._bar = self._drawn(seen)

    def show(self, count: int, domain: str, figures: Mapping[str, str]) -> None:
        self._bar.set_description(self.before + domain, refresh=False)
        self._bar.set_postfix(figures, refresh=False)
        self._bar.update(count)

    def close(self) -> None:
        self._bar.close()


class Lines:
    """A line every :data:`LINE_INTERVAL` seconds."""

    def __init__(self, total: int, before: str = "") -> None:
        self.total, self.before = total, before
        self.go_on_from(0)

    def go_on_from(self, seen: int) -> None:
        self.seen = self._before = seen
        self._started = self._latest = time.perf_counter()

    def show(self, count: int, domain: str, figures: Mapping[str, str]) -> None:
        self.seen += count
        now = time.perf_counter()
        if now - self._latest < LINE_INTERVAL:
            return
        self._latest = now
        rate = (self.seen - self._before) / (now - self._started)
        parts = [f"{self.seen} of {self.total} images"]
        parts += [f"{name} {figure}" for name, figure in figures.items()]
        parts += [f"{rate:.3g} images/s", f"{(self.total - self.seen) / rate:.0f} s left"]
        print(f"{self.before}{domain}: {', '.join(parts)}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Write nothing: the figures follow."""
