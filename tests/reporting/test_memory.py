import sys

import pytest
import torch

from tta.reporting.memory import PeakMemory

MIB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is set back on Linux alone")
def test_the_peak_is_that_since_the_start():
    held = torch.ones(64 * MIB, dtype=torch.uint8)
    before = PeakMemory(torch.device("cpu"))
    assert before.rise() < 8 * MIB
    more = torch.ones(96 * MIB, dtype=torch.uint8)
    del more
    peak = before.bytes()
    assert 90 * MIB < before.rise() < 110 * MIB
    after = PeakMemory(torch.device("cpu"))
    assert after.rise() < 8 * MIB
    assert after.bytes() < peak - 80 * MIB
    assert held[0] == 1
