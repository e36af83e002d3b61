"""What a run must go on with to come to the same bytes, and what it need not."""

import torch

from tta.foundation.arithmetic import arithmetic, difference
from tta.foundation.backends import rounding


def test_threads_count_on_the_cpu_alone_and_a_gpu_by_its_model(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    on_cpu, on_gpu = arithmetic(torch.device("cpu")), arithmetic(torch.device("cuda"))
    assert on_cpu["threads"] == torch.get_num_threads()
    assert on_cpu["torch"] == on_gpu["torch"] == torch.__version__
    assert on_cpu.keys() - on_gpu.keys() == {"threads", "processor"}
    assert on_gpu["GPU"] == "NVIDIA H100"
    assert {"CUDA", "cuDNN"} <= on_gpu.keys()


def test_how_a_gpu_rounds_is_part_of_what_must_stay(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    found = []
    for tf32, deterministic in ((False, False), (True, False), (False, True)):
        with rounding(torch.device("cuda"), tf32, deterministic):
            found.append(arithmetic(torch.device("cuda")))
    plain, fast, same = found
    assert difference(plain, fast) == (
        "tf32 False, tf32_convolutions False, and this is tf32 True, tf32_convolutions True",
        "go on with tf32 False; go on with tf32_convolutions False",
    )
    assert difference(plain, same)[0] == "deterministic False, and this is deterministic True"


def test_a_difference_names_both_and_its_cure():
    now = {"torch": "2.9", "threads": 4, "GPU": "NVIDIA H100"}
    assert difference(dict(now, more=1), now) is None
    then = {"torch": "2.8", "threads": 8, "GPU": "NVIDIA A100"}
    assert difference(then, now) == (
        "torch 2.8, 8 threads, GPU NVIDIA A100, and this is torch 2.9, 4 threads, GPU NVIDIA H100",
        "install torch 2.8; set OMP_NUM_THREADS=8 (in a sweep, the --workers of before); "
        "go on with GPU NVIDIA A100",
    )


def test_what_was_not_written_down_is_a_difference():
    for then in (None, [], {}, "torch"):
        what, _ = difference(then, {"threads": 4})
        assert what == "None threads, and this is 4 threads"
