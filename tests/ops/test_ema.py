import torch

from tta.ops.ema import ema_update


def test_update_is_the_weighted_mean_and_in_place():
    average = [torch.tensor([1.0, 2.0]), torch.tensor([[4.0]])]
    current = [torch.tensor([3.0, 0.0]), torch.tensor([[8.0]])]
    kept = list(average)
    ema_update(average, current, decay=0.75)
    torch.testing.assert_close(average, [torch.tensor([1.5, 1.5]), torch.tensor([[5.0]])])
    assert all(a is b for a, b in zip(average, kept, strict=True))


def test_parameters_that_require_gradients_are_averaged_without_a_graph():
    average, current = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.ones(2))
    ema_update([average], [current], decay=0.9)
    torch.testing.assert_close(average.detach(), torch.full((2,), 0.1))
    assert average.grad_fn is None


def test_a_decay_on_the_device_gives_the_same():
    current = [torch.tensor([3.0, 0.0]), torch.tensor([[8.0]])]
    averages = [[torch.tensor([1.0, 2.0]), torch.tensor([[4.0]])] for _ in range(2)]
    ema_update(averages[0], current, decay=0.75)
    ema_update(averages[1], current, decay=torch.tensor(0.75))
    torch.testing.assert_close(*averages)
