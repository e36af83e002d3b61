"""Print what makes bash, zsh or tcsh complete the command tta."""

from tta.commands.completion import main
from tta.foundation.stops import leave

if __name__ == "__main__":
    leave(main())
