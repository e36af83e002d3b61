"""Counters of energy, where they can be read."""

import sys
from types import SimpleNamespace

import pytest

from tta.foundation.energy import EnergyMeter


def write(folder, package, energy, turn=1000):
    place = folder / f"intel-rapl:{package}"
    place.mkdir(exist_ok=True)
    (place / "energy_uj").write_text(f"{energy * 1e6:.0f}\n")
    (place / "max_energy_range_uj").write_text(f"{turn * 1e6:.0f}\n")


def test_packages_add_up_and_begin_anew(tmp_path):
    write(tmp_path, 0, 10)
    write(tmp_path, 1, 990)
    (tmp_path / "intel-rapl:0:0").mkdir()  # a part of package 0
    meter = EnergyMeter("cpu", tmp_path)
    assert meter.joules() == 0
    write(tmp_path, 0, 15)
    write(tmp_path, 1, 3)
    assert meter.joules() == pytest.approx(5 + 13)


def test_what_cannot_be_read_is_not_told(tmp_path):
    assert EnergyMeter("cpu", tmp_path).joules() is None
    (tmp_path / "intel-rapl:0").mkdir()
    assert EnergyMeter("cpu", tmp_path).joules() is None


def test_a_gpu_s_counter(monkeypatch):
    joules = iter([1000, 2500, 4000])
    fake = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(joules) if handle == 1 else None,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert EnergyMeter("cuda:1").joules() == pytest.approx(1.5)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert EnergyMeter("cuda:1").joules() is None
