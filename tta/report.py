"""Write one self-contained page of recorded runs."""

from tta.commands.report import main
from tta.foundation.stops import leave

if __name__ == "__main__":
    leave(main())
