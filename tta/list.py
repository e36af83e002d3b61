"""List what can be chosen: methods, data sets, scenarios, backbones and more."""

from tta.commands.list import main
from tta.foundation.stops import leave

if __name__ == "__main__":
    leave(main())
