"""What goes to a device: from locked memory, in the background, where that is safe."""

import pytest
import torch

from tta.foundation.from_host import from_host


class Copied(torch.Tensor):
    """Says where it was sent to, and how."""

    locked = False

    def is_pinned(self):
        return self.locked

    def pin_memory(self):
        other = torch.zeros(2).as_subclass(Copied)
        other.locked = True
        return other

    def to(self, place, non_blocking=False):
        return place.type, non_blocking, self.locked


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("device", ["cuda", "mps", "cpu"])
def test_copies_in_the_background_are_from_locked_memory_to_cuda_alone(device, locked):
    tensor = torch.zeros(2).as_subclass(Copied)
    tensor.locked = locked
    on_cuda = device == "cuda"
    assert from_host(tensor, torch.device(device)) == (device, on_cuda, locked or on_cuda)
