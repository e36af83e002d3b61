"""Check that a method of one's own keeps what every method promises."""

from tta.commands.check import main
from tta.foundation.stops import leave

if __name__ == "__main__":
    leave(main())
