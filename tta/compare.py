"""Put runs of one protocol side by side."""

from tta.commands.compare import main
from tta.foundation.stops import leave

if __name__ == "__main__":
    leave(main())
