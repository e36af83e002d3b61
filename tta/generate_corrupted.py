"""Write CIFAR-10-C, CIFAR-100-C or ImageNet-C in the official layout."""

from tta.commands.generate_corrupted import main
from tta.foundation.stops import leave

if __name__ == "__main__":
    leave(main())
