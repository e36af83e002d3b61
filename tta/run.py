"""Run one adaptation method over one stream and print its table."""

from tta.commands.run import main
from tta.foundation.stops import leave

if __name__ == "__main__":
    leave(main())
