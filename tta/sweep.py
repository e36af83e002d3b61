"""Run a grid of methods, data sets, scenarios, backbones, seeds and parameters."""

from tta.commands.sweep import main
from tta.foundation.stops import leave

if __name__ == "__main__":
    leave(main())
