"""From a configuration to its summary: what can be refused early, the parts of a run, the run.

``preflight`` and ``resolving`` import no torch. ``assembly`` makes the parts of a run (``built``),
one by one in ``parts``, ``class_numbers`` and ``sanity``, on the ``ground`` that several can share;
``execution`` streams the data through them, which ``observing`` watches and ``saving`` keeps;
``together`` runs several over one stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tta.foundation.registry import lazy_attributes

if TYPE_CHECKING:
    from tta.experiment.assembly import build
    from tta.experiment.built import Experiment
    from tta.experiment.execution import run, run_experiment

__all__ = ["Experiment", "build", "run", "run_experiment"]

__getattr__ = lazy_attributes(
    __name__,
    {"Experiment": f"{__name__}.built", "build": f"{__name__}.assembly"}
    | dict.fromkeys(["run", "run_experiment"], f"{__name__}.execution"),
)
