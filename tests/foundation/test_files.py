"""A file is seen whole or not at all, whatever ends the writing."""

import os
import time

import pytest
import torch

from tta.foundation.cache import PreparationCache
from tta.foundation.files import STALE, open_growing, write_atomically, written_aside


@pytest.mark.parametrize("shared", [False, True])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, shared):
    file = tmp_path / "figures"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt), written_aside(file, shared=shared) as aside:
        aside.write_text("ne")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]
    assert file.read_text() == "old"
    with written_aside(file, shared=shared) as aside:
        aside.write_text("new")
        assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]
    assert file.read_text() == "new"


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_leaves_no_part_of_a_record(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "figures", "new")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_costs_the_cache_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("TTA_CACHE_DIR", str(tmp_path))

    def save(entry: object, file: object) -> None:
        file.write(bytes(32))
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", save)
    PreparationCache({"a": 1}).save({"b": torch.zeros(2)})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", [os.symlink, os.link])
@pytest.mark.parametrize("shared", [False, True])
def test_a_link_at_the_temporary_name_is_replaced_not_followed(tmp_path, shared, kind):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    owner = f".{os.getpid()}" if shared else ""
    kind(victim, tmp_path / f".figures{owner}.tmp")
    with written_aside(tmp_path / "figures", shared=shared) as aside:
        assert not aside.is_symlink()
        aside.write_text("new")
    assert victim.read_text() == "precious"
    assert (tmp_path / "figures").read_text() == "new"
    assert not (tmp_path / "figures").is_symlink()


def test_a_link_to_nothing_makes_nothing(tmp_path):
    for name in (".figures.tmp", "rows"):
        os.symlink(tmp_path / "victim", tmp_path / name)
    write_atomically(tmp_path / "figures", "new")
    with pytest.raises(OSError, match="symbolic links"):
        open_growing(tmp_path / "rows")
    assert not (tmp_path / "victim").exists()


def test_what_killed_processes_have_left_is_removed(tmp_path):
    now = time.time()
    for name, age in ((".figures.tmp", 0), (".figures.11.tmp", 2 * STALE), (".figures.22.tmp", 60)):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (now - age, now - age))
    (tmp_path / ".figures.eleven.tmp").write_text("of somebody else")
    write_atomically(tmp_path / "figures", "new")
    with written_aside(tmp_path / "figures", shared=True):
        pass
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"figures", ".figures.22.tmp", ".figures.eleven.tmp"}
