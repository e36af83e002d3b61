"""Train a source model on one or several domains."""

from tta.commands.train_source import main
from tta.foundation.stops import leave

if __name__ == "__main__":
    leave(main())
