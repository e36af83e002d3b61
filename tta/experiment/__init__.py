"""From a configuration to its summary: what can be refused early, the parts of a run, the run.

``preflight`` and ``resolving`` import no torch. ``assembly`` makes the parts, one by one in
``parts``, ``class_numbers`` and ``sanity``; ``execution`` streams the data through them, which
``recording`` watches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tta.foundation.registry import lazy_attributes

if TYPE_CHECKING:
    from tta.experiment.assembly import Experiment, build
    from tta.experiment.execution import run, run_experiment

__all__ = ["Experiment", "build", "run", "run_experiment"]

__getattr__ = lazy_attributes(
    __name__,
    dict.fromkeys(["Experiment", "build"], f"{__name__}.assembly")
    | dict.fromkeys(["run", "run_experiment"], f"{__name__}.execution"),
)
