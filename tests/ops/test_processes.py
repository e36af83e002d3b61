"""Two processes with half a batch each normalise as one with the whole batch."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from tta.ops.norm.batch_norm import AdaptiveBatchNorm, replace_batch_norm

SPLIT = 3


def inputs():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 3, 4, 4, generator=generator, dtype=torch.float64) * 2 + 1
    gradient = torch.randn(8, 3, 4, 4, generator=generator, dtype=torch.float64)
    return x, gradient


def normalise(layer_type, target_weight, unbiased, rows):
    model = nn.Sequential(layer_type(3)).double()
    with torch.no_grad():
        model[0].running_mean.add_(0.5)
        model[0].weight.mul_(torch.tensor([0.5, 1.0, 2.0]))
    replace_batch_norm(model, lambda layer: AdaptiveBatchNorm(layer, target_weight, unbiased))
    x, gradient = (tensor[rows].clone() for tensor in inputs())
    y = model(x.requires_grad_())
    y.backward(gradient)
    return y.detach(), x.grad, model[0].weight.grad


def work(rank, cases, folder):
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    rows = slice(0, SPLIT) if rank == 0 else slice(SPLIT, None)
    results = [normalise(nn.SyncBatchNorm, *case, rows) for case in cases]
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_half_batches_of_two_processes_equal_the_whole_batch(tmp_path):
    cases = [(1.0, False), (0.3, False), (0.3, True), (0.0, False)]
    mp.spawn(work, (cases, str(tmp_path)), nprocs=2)
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for case, first, second in zip(cases, *halves, strict=True):
        y, dx, dweight = normalise(nn.BatchNorm2d, *case, slice(None))
        torch.testing.assert_close(torch.cat([first[0], second[0]]), y)
        torch.testing.assert_close(torch.cat([first[1], second[1]]), dx)
        torch.testing.assert_close(first[2] + second[2], dweight)


def test_in_one_process_a_synchronised_layer_is_like_any_other():
    expected = normalise(nn.BatchNorm2d, 0.3, False, slice(None))
    torch.testing.assert_close(normalise(nn.SyncBatchNorm, 0.3, False, slice(None)), expected)
