"""What a method keeps of its state, and where."""

import torch

from tests.fakes import make_backbone
from tests.other_device import DEVICE, Elsewhere, OtherDevice
from tta.methods.state import capture, park, restore, unpark


def test_what_is_in_host_memory_stays_itself():
    values = {"a": torch.ones(2), "b": [1, (torch.zeros(1), "text")], "c": None}
    parked = park(values)
    assert parked["a"] is values["a"]
    assert unpark(parked, DEVICE)["b"][1][0] is values["b"][1][0]
    assert capture(values["a"], parked=True) is not values["a"]


def test_what_was_on_the_device_comes_back_there_and_the_rest_does_not():
    with OtherDevice():
        there, here = torch.ones(2).to(DEVICE), torch.zeros(2, dtype=torch.float64)
        parked = capture([there, here], parked=True)
        assert park(parked[0]).keys() == parked[0].keys()
        there.add_(1)
        first, second = restore([None, None], unpark(parked, DEVICE))
        assert isinstance(first, Elsewhere)
        assert first.held.tolist() == [1, 1]
        assert not isinstance(second, Elsewhere)


def test_a_module_keeps_the_versions_that_its_state_carries():
    model = make_backbone("batch_norm")
    state = model.state_dict()
    assert unpark(park(state), DEVICE)._metadata == state._metadata
