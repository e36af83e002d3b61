import torch
from torch import nn

from tta.ops.generators import seeded_layers


def test_layers_come_from_the_seed_and_the_global_generator_goes_on_as_it_was():
    before = torch.get_rng_state()
    with seeded_layers(3):
        first = nn.Linear(4, 4)
    torch.rand(2)
    with seeded_layers(3):
        second = nn.Linear(4, 4)
    assert torch.equal(first.weight, second.weight)
    torch.set_rng_state(before)
    with seeded_layers(4):
        other = nn.Linear(4, 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(other.weight, first.weight)
