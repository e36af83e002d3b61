"""Figures sent, while they are made, to a program that draws them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from tta.foundation.errors import UserError
from tta.foundation.text import printable
from tta.tasks.task import recorded_task

PACKAGES = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}
"""Names of the trackers, and what each imports."""


class Tracker(Protocol):
    """Sees what the recorder has fetched from the device."""

    def log(self, position: int, values: Mapping[str, float]) -> None:
        """Take figures of the batch that ends at ``position``."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Take the summary of the run, and end."""


def require_tracker(name: str) -> None:
    """Refuse a tracker whose package is missing.

    Raises:
        UserError: it is missing.
    """
    if name == "none":
        return
    try:
        import_module(PACKAGES[name])
    except ImportError as error:
        raise UserError(
            f"--track {name} needs a package that is missing ({error}); install it with "
            f"pip install 'tta-harness[{name}]', or leave --track out"
        ) from error


def open_tracker(
    name: str, folder: Path, config: Mapping[str, Any], position: int
) -> Tracker | None:
    """Return the tracker of a run, or None for ``none``.

    Args:
        name: ``none``, ``tensorboard`` or ``wandb``.
        folder: the run directory, below which it writes.
        config: resolved configuration of the run.
        position: from which the run goes on; what was sent beyond it is replaced.

    Raises:
        UserError: a link lies where the tracker would write.
    """
    if name == "none":
        return None
    if (folder / name).is_symlink():
        raise UserError(
            f"{str(folder / name)!r} is a link; remove it, so that nothing is written elsewhere"
        )
    return (TensorBoard if name == "tensorboard" else WeightsAndBiases)(folder, config, position)


class TensorBoard:
    """Writes event files to ``tensorboard`` in the run directory."""

    def __init__(self, folder: Path, config: Mapping[str, Any], position: int) -> None:
        writer = import_module(PACKAGES["tensorboard"]).SummaryWriter
        self._writer = writer(str(folder / "tensorboard"), purge_step=position)
        lines = [printable(f"    {name}: {value}") for name, value in config.items()]
        self._writer.add_text("config", "\n".join(lines))  # indented, it is no Markdown

    def log(self, position: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, position)

    def finish(self, summary: Mapping[str, Any]) -> None:
        self.log(summary["samples"], headline(summary))
        self._writer.close()


class WeightsAndBiases:
    """Writes to ``wandb`` in the run directory; offline, unless $WANDB_MODE says otherwise."""

    def __init__(self, folder: Path, config: Mapping[str, Any], position: int) -> None:
        self._run = import_module(PACKAGES["wandb"]).init(
            project="tta",
            id=folder.name,
            dir=str(folder),
            config=dict(config),
            resume="allow" if position else None,
            mode=os.environ.get("WANDB_MODE", "offline"),
        )

    def log(self, position: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=position)

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._run.summary.update(headline(summary))
        self._run.finish(exit_code=0 if summary["finished"] else 1)


def headline(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a whole run that are numbers, by name."""
    task = recorded_task(summary)
    headline, known_figures = task.headline.name, (figure.name for figure in task.figures)
    names = dict.fromkeys([f"mean_{headline}", *known_figures])
    known = {name: summary.get(name) for name in names}
    figures = {name: value for name, value in known.items() if value is not None}
    for number, domain in enumerate(summary["domains"], 1):
        if domain[headline] is not None:
            name = f"domain_{headline}/{number:02}_{printable(domain['domain'])}"
            figures[name] = domain[headline]
    return figures
