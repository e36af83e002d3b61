"""Counters of energy, where they can be read."""

import sys
from types import SimpleNamespace

import pytest

from tta.foundation.energy import EnergyMeter


def write(folder, package, energy, turn=1000, name=None):
    place = folder / f"intel-rapl:{package}"
    place.mkdir(exist_ok=True)
    (place / "name").write_text(f"{name or f'package-{package}'}\n")
    (place / "energy_uj").write_text(f"{energy * 1e6:.0f}\n")
    (place / "max_energy_range_uj").write_text(f"{turn * 1e6:.0f}\n")


def test_packages_add_up_and_begin_anew(tmp_path):
    write(tmp_path, 0, 10)
    write(tmp_path, 1, 990)
    write(tmp_path, 2, 5000, name="psys")  # holds the packages
    write(tmp_path, "0:0", 3, name="core")
    meter = EnergyMeter(folder=tmp_path)
    assert meter.joules == 0
    for first, second, psys in ((15, 3, 6000), (500, 3, 7000), (20, 3, 8000)):
        write(tmp_path, 0, first)
        write(tmp_path, 1, second)
        write(tmp_path, 2, psys, name="psys")
        meter.read()
    assert meter.joules == pytest.approx(5 + 13 + 485 + 520)


def test_what_cannot_be_read_is_not_told(tmp_path):
    assert EnergyMeter(folder=tmp_path).joules is None
    write(tmp_path, 0, 10)
    meter = EnergyMeter(folder=tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    meter.read()
    assert meter.joules is None
    write(tmp_path, 0, 10)
    meter.read()
    assert meter.joules is None  # a part is missing


class NVMLError(Exception):
    """As NVML's own."""


def fake(joules):
    def energy(handle):
        value = next(joules)
        if value is None:
            raise NVMLError("gone")
        return value

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID={"GPU-1": 1}.__getitem__,
        nvmlDeviceGetTotalEnergyConsumption=energy,
    )


def test_a_gpu_s_counter_is_found_by_its_own_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", fake(iter([1000, 2500, None])))
    meter = EnergyMeter(lambda: "GPU-1")
    meter.read()
    assert meter.joules == pytest.approx(1.5)
    meter.read()  # an error of the driver is no end of a run
    assert meter.joules is None
    assert EnergyMeter(lambda: None).joules is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert EnergyMeter(pytest.fail).joules is None  # it is not asked
