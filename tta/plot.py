"""Draw pictures of recorded runs, or of a data set's domains."""

from tta.commands.plot import main
from tta.foundation.stops import leave

if __name__ == "__main__":
    leave(main())
