"""Runs that are stopped between two batches, as by Ctrl-C."""

from __future__ import annotations

import pytest

from tta.config import RunConfig
from tta.experiment import Experiment, build, run_experiment
from tta.foundation.stops import Stopped


def run_stopped(config: RunConfig, batches: int, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """Run a configuration until so many batches have been streamed, and return its parts."""
    experiment = build(config)
    kind, seen = type(experiment.method), []
    step = kind.step

    def breaks(self, images):
        if len(seen) == batches:
            raise Stopped()
        seen.append(None)
        return step(self, images)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(kind, "step", breaks)
        run_experiment(experiment)
    return experiment
