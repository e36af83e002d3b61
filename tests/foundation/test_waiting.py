"""Threads sleep at once where other programs are at work, unless the user says otherwise."""

import os
import subprocess
import sys

import pytest
import torch

from tta.experiment.figures import environment
from tta.foundation import waiting
from tta.foundation.waiting import CHOSEN, POLICY, busy_cores, choose_waiting


@pytest.fixture()
def no_torch_yet(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    for name in CHOSEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(waiting, "busy_cores", lambda: 1.5)
    monkeypatch.setitem(os.environ, POLICY, "")  # so that what is chosen is undone afterwards
    del os.environ[POLICY]


@pytest.mark.usefixtures("no_torch_yet")
def test_threads_sleep_at_once_on_a_busy_machine():
    choose_waiting()
    assert os.environ[POLICY] == "passive"
    assert waiting.waiting() == "OMP_WAIT_POLICY=passive"


@pytest.mark.usefixtures("no_torch_yet")
def test_a_quiet_machine_is_left_alone(monkeypatch):
    monkeypatch.setattr(waiting, "busy_cores", lambda: 0.2)
    choose_waiting()
    assert POLICY not in os.environ
    assert waiting.waiting() == "default"


@pytest.mark.usefixtures("no_torch_yet")
@pytest.mark.parametrize("name", CHOSEN)
def test_what_the_user_set_wins(monkeypatch, name):
    monkeypatch.setenv(name, "active")
    choose_waiting()
    assert os.environ.get(POLICY) == ("active" if name == POLICY else None)
    assert waiting.waiting() == f"{name}=active"


@pytest.mark.usefixtures("no_torch_yet")
def test_nothing_changes_once_torch_is_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", object())
    choose_waiting()
    assert POLICY not in os.environ


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what its cores do")
def test_neighbours_are_seen():
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        assert max(busy_cores(0.2) for _ in range(5)) > 0.5
    finally:
        neighbour.kill()
        neighbour.wait()


def test_a_system_that_does_not_tell_counts_as_quiet(monkeypatch):
    monkeypatch.setattr(waiting.Path, "read_text", lambda _: (_ for _ in ()).throw(OSError()))
    assert busy_cores(0.0001) == 0


def test_the_record_says_how_threads_waited(monkeypatch):
    monkeypatch.setenv(POLICY, "passive")
    assert environment(torch.device("cpu"))["waiting"] == f"{POLICY}=passive"
