"""Download a published data set, or check one that is on disk."""

from tta.commands.get import main
from tta.foundation.stops import leave

if __name__ == "__main__":
    leave(main())
