"""Our figures beside those of the papers, one table at a time."""

from tta.commands.published import main
from tta.foundation.stops import leave

if __name__ == "__main__":
    leave(main())
