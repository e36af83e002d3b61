"""A file is seen whole or not at all, whatever ends the writing."""

import numpy as np
import pytest
import torch

from tta.cache import PreparationCache
from tta.files import write_atomically, written_aside


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
        np.zeros(4).tofile(file)
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", save)
    PreparationCache({"a": 1}).save({"b": torch.zeros(2)})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
