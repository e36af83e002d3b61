import torch

from tta.methods.cotta_restore import stochastic_restore


def tensors(value):
    return [torch.full((40, 50), value), torch.full((300,), value)]


def restored(rate, seed=0):
    parameters = [torch.nn.Parameter(tensor) for tensor in tensors(1.0)]
    stochastic_restore(parameters, tensors(0.0), rate, torch.Generator().manual_seed(seed))
    return parameters


def test_the_asked_share_of_elements_returns_to_the_source_and_no_other_changes():
    for parameter in restored(0.1):
        assert set(parameter.unique().tolist()) == {0.0, 1.0}
        assert abs((parameter == 0).float().mean() - 0.1) < 0.06
    assert all((parameter == 1).all() for parameter in restored(0.0))
    assert all((parameter == 0).all() for parameter in restored(1.0))


def test_draws_come_from_the_generator_and_differ_from_call_to_call():
    before = torch.get_rng_state()
    assert torch.equal(restored(0.5)[0], restored(0.5)[0])
    assert not torch.equal(restored(0.5)[0], restored(0.5, seed=1)[0])
    assert torch.equal(before, torch.get_rng_state())


def test_what_is_not_a_number_is_restored_too():
    parameters = [torch.full((1000,), torch.nan)]
    stochastic_restore(parameters, [torch.zeros(1000)], 0.5, torch.Generator().manual_seed(0))
    assert 400 < (parameters[0] == 0).sum() < 600
