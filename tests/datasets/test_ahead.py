"""Costly images are made one batch ahead in a thread: same batches, same errors, no thread left."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.datasets.layouts import cifar_binary
from tta.datasets import open_dataset
from tta.datasets.ahead import one_ahead
from tta.datasets.loading import image_loader
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.stream import Stream


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("images")]


def leave_cores(monkeypatch, spare):
    """Let the machine have so many cores more than torch has threads."""
    cores = torch.get_num_threads() + spare
    monkeypatch.setattr("tta.datasets.loading.core_count", lambda: cores)


def test_the_next_is_made_while_one_is_in_use_and_no_more():
    started = [threading.Event() for _ in range(4)]
    made = one_ahead(lambda k: started[k].set() or k, range(4))
    assert next(made) == 0
    assert started[1].wait(10) and not started[2].wait(0.1)
    assert list(made) == [1, 2, 3] and not threads()


def test_an_error_is_raised_at_its_own_turn():
    def load(number):
        if number == 2:
            raise OSError("the third")
        return number

    made = one_ahead(load, range(5))
    assert [next(made), next(made)] == [0, 1]
    with pytest.raises(OSError, match="the third"):
        next(made)
    assert not threads()


def test_a_pass_that_is_broken_off_leaves_no_thread_and_no_work():
    asked = []
    made = one_ahead(lambda number: asked.append(number) or number, range(100))
    assert next(made) == 0
    made.close()
    assert not threads() and len(asked) <= 2


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc tells threads here")
def test_no_thread_is_still_ending_when_a_pass_is_over():
    """A process forked while MKL gives back a thread's memory would wait for its locks for ever."""

    def load(_):
        torch.rand(4, 32, 32).double() @ torch.rand(32, 32).double()
        return f"/proc/self/task/{threading.get_native_id()}"

    for _ in range(200):
        assert not any(Path(task).exists() for task in list(one_ahead(load, range(2))))


def test_an_empty_pass():
    assert list(one_ahead(str, [])) == []


def test_torch_keeps_its_threads_here_and_has_one_there():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert list(one_ahead(lambda _: torch.get_num_threads(), [0, 1])) == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def data(tmp_path):
    cifar_binary(tmp_path / "cifar-10-batches-bin", {"test_batch.bin": 10_000}, label_bytes=1)
    return open_dataset("cifar10-c@gen", tmp_path)


def test_streams_are_the_same_with_a_thread_from_any_position(data, monkeypatch):
    def images(spare, position=0):
        leave_cores(monkeypatch, spare)
        plan = plan_stream(
            "continual", data, ScenarioOptions(domains=("snow", "jpeg_compression"), num_samples=10)
        )
        return [(batch.start, batch.images) for batch in Stream(data, plan, 4).batches(position)]

    for position in (0, 8):
        alone, ahead = images(0, position), images(1, position)
        assert [start for start, _ in alone] == [start for start, _ in ahead]
        assert all(torch.equal(a, b) for (_, a), (_, b) in zip(alone, ahead, strict=True))


@pytest.mark.parametrize(
    ("costly", "spare", "expected"), [(True, 1, True), (True, 0, False), (False, 1, False)]
)
def test_only_costly_images_get_a_thread_and_where_the_model_leaves_a_core(
    data, monkeypatch, costly, spare, expected
):
    leave_cores(monkeypatch, spare)
    data.costly = costly
    rows = np.zeros(1, np.int64), np.ones(1, np.int64), np.zeros(1, np.int64)
    with image_loader(data, ("fog",), 0, False) as loader:
        made = loader([rows, rows])
        next(made)
        assert bool(threads()) is expected
        made.close()
        assert not threads()
