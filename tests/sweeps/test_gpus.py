"""Which GPU a worker gets, and how many a cell of a Ray cluster takes."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import subprocess
from types import SimpleNamespace

import pytest
import torch

from tta.commands.sweep import main
from tta.config import RunConfig
from tta.datasets.loading import default_workers
from tta.foundation.cores import core_count
from tta.foundation.devices import WORKSPACE
from tta.foundation.errors import UserError
from tta.sweeps import gpus, local
from tta.sweeps.gpus import (
    VISIBLE,
    count_gpus,
    gpus_of_workers,
    has_cuda_build,
    usual_workers,
    visible_gpus,
    workspace_of,
)
from tta.sweeps.grid import Cell
from tta.sweeps.on_ray import Cluster, gpus_of, run_on_ray


def cells(*devices):
    return [Cell(device, RunConfig(device=device)) for device in devices]


@pytest.fixture(autouse=True)
def four_gpus(monkeypatch):
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setattr(gpus, "count_gpus", lambda: 4)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, ["0", "1", "2", "3", "0", "1"]),
        ("2,0", ["2", "0", "2", "0", "2", "0"]),
        ("GPU-8a2f, GPU-17c0", ["GPU-8a2f", "GPU-17c0"] * 3),
        ("1,3,-1,2", ["1", "3"] * 3),
        ("3", [None] * 6),
        ("", [None] * 6),
        ("-1", [None] * 6),
    ],
)
def test_workers_take_the_visible_gpus_in_turn(monkeypatch, given, expected):
    if given is not None:
        monkeypatch.setenv(VISIBLE, given)
    assert gpus_of_workers(cells("auto", "cuda"), 6) == expected


@pytest.mark.parametrize("device", ["cpu", "mps", "cuda:1"])
def test_a_device_that_is_named_is_left_alone(monkeypatch, device):
    monkeypatch.setattr(gpus, "visible_gpus", lambda: pytest.fail("nobody needs to know"))
    assert gpus_of_workers(cells("auto", device), 2) == [None, None]


def test_a_machine_with_one_gpu_or_none_is_left_alone(monkeypatch):
    for count in (0, 1):
        monkeypatch.setattr(gpus, "count_gpus", lambda count=count: count)
        assert gpus_of_workers(cells("auto"), 3) == [None] * 3


def test_gpus_are_counted_by_the_driver_s_own_program(monkeypatch):
    text = "GPU 0: NVIDIA A100 (UUID: GPU-1)\n  MIG 1g.5gb\nGPU 1: NVIDIA A100 (UUID: GPU-2)\n"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=text))
    assert count_gpus() == 2
    assert visible_gpus() == ["0", "1", "2", "3"]

    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    assert count_gpus() == 0


@pytest.mark.parametrize(
    ("devices", "gpus", "expected"),
    [
        (("auto", "cpu"), 4, 16),
        (("auto", "cuda"), 4, 4),
        (("cuda",), 1, 1),
        (("mps",), 0, 1),
        (("auto",), 0, 16),
        (("cpu",), 4, 16),
        (("cuda:0", "cuda:2", "cuda:0"), 4, 2),
    ],
)
def test_a_process_for_each_gpu_else_for_each_core(monkeypatch, devices, gpus, expected):
    monkeypatch.setattr("tta.sweeps.gpus.count_gpus", lambda: gpus)
    monkeypatch.setattr("tta.sweeps.gpus.core_count", lambda: 16)
    monkeypatch.setattr("tta.sweeps.gpus.has_cuda_build", lambda: True)
    assert usual_workers(cells(*devices)) == expected


def test_without_a_build_for_cuda_gpus_do_not_count(monkeypatch):
    monkeypatch.setattr("tta.sweeps.gpus.core_count", lambda: 16)
    monkeypatch.setattr("tta.sweeps.gpus.has_cuda_build", lambda: False)
    assert usual_workers(cells("auto")) == 16


def test_what_torch_was_built_for_is_known_without_it():
    assert has_cuda_build() == (torch.version.cuda is not None)


def seen_variable(config):
    return os.environ.get(VISIBLE)


def test_a_worker_sees_its_gpu_alone_and_the_caller_all(monkeypatch):
    workers = [local._Worker(1, gpu) for gpu in ("3", None)]
    try:
        assert [worker._end_of(seen_variable, cells("auto")[0]) for worker in workers] == [
            "3",
            None,
        ]
    finally:
        for worker in workers:
            worker.close()
    assert VISIBLE not in os.environ


def test_a_worker_loads_as_the_caller_would_with_its_share_of_the_cores():
    worker = local._Worker(1)
    try:
        here = multiprocessing.get_start_method()
        assert worker._process.submit(multiprocessing.get_start_method).result() == here
        assert worker._process.submit(core_count).result() == 1
        cuda = torch.device("cuda")
        assert worker._process.submit(default_workers, True, cuda).result() == 1
    finally:
        worker.close()


@pytest.mark.parametrize(
    ("given", "device", "with_gpus", "expected"),
    [
        (None, "auto", True, 1.0),
        (None, "cuda", True, 1.0),
        (None, "cpu", True, 0.0),
        (None, "auto", False, 0.0),
        (0.0, "auto", True, 0.0),
        (0.25, "auto", False, 0.25),
    ],
)
def test_a_cell_of_a_cluster_takes_a_gpu_where_there_are_some(given, device, with_gpus, expected):
    found = gpus_of(RunConfig(device=device), Cluster(gpus=given), with_gpus)
    assert found == expected


@pytest.mark.parametrize("option", ["--gpus-per-cell", "--cpus-per-cell"])
@pytest.mark.parametrize("value", ["-1", "nan", "inf", "two"])
def test_shares_of_a_machine_are_numbers(tmp_path, capsys, option, value):
    assert main([str(tmp_path / "grid.yaml"), option, value]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_sweep_with_a_deterministic_cell_says_so_to_cublas_from_the_start(monkeypatch):
    monkeypatch.delenv(WORKSPACE, raising=False)
    plain = cells("cpu")
    one = [dataclasses.replace(plain[0], config=RunConfig(deterministic=True))]
    assert workspace_of(plain) == {}
    assert workspace_of([*plain, *one]) == {WORKSPACE: ":4096:8"}
    worker = local._Worker(1, None, workspace_of(one))
    try:
        assert worker._process.submit(os.getenv, WORKSPACE).result() == ":4096:8"
    finally:
        worker.close()


def test_ray_chooses_the_gpu_of_a_cell():
    with pytest.raises(
        UserError, match="--executor ray chooses the GPU of each cell.*write device: cuda$"
    ):
        next(run_on_ray(cells("cuda:1"), Cluster()))
