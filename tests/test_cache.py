"""What is kept is taken again only when nothing it depends on has changed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tta.config import RunConfig
from tta.experiment.execution import build, preparation_cache, run
from tta.foundation.cache import PreparationCache, cache_folder


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TTA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def config(folder, **options):
    values = {"method": "rmt", "domains": ("pixelate",), "num_samples": 70}
    settings = {"warm_up_samples": 128, **options.pop("set", {})}
    return RunConfig(**values, set=settings, output=str(folder / "runs"), force=True, **options)


def test_a_hit_gives_the_same_figures_to_the_bit(folder):
    first = run(config(folder))
    assert len(list(cache_folder().rglob("*.pt"))) == 1
    entry = preparation_cache(build(config(folder)))
    assert entry.load() is not None
    second = run(config(folder))
    third = run(config(folder, no_cache=True))
    assert first["domains"] == second["domains"] == third["domains"]


@pytest.mark.parametrize(
    "change",
    [
        {"set": {"warm_up_samples": 192}},
        {"set": {"lr": 0.5}},
        {"seed": 2},
        {"batch_size": 32},
        {"precision": "bf16"},
        {"memory_format": "contiguous"},
        {"source": "digits-c"},
    ],
)
def test_every_change_misses(folder, change):
    assert preparation_cache(build(config(folder))).path != (
        preparation_cache(build(config(folder, **change))).path
    )


def test_damaged_entries_are_made_again(folder):
    first = run(config(folder))
    (entry,) = cache_folder().rglob("*.pt")
    entry.write_bytes(entry.read_bytes()[:1000])
    assert run(config(folder))["domains"] == first["domains"]
    assert entry.stat().st_size > 1000


def test_an_entry_that_was_altered_anywhere_is_made_again(folder):
    first = run(config(folder))
    (entry,) = cache_folder().rglob("*.pt")
    good = entry.read_bytes()
    preparation = preparation_cache(build(config(folder)))
    for place in np.linspace(0, len(good) - 1, 60).astype(int):
        entry.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        assert preparation.load() is None
    for content in (b"", good + good, good[1:], good[: good.rfind(b"\n")], b"[" * 9000):
        entry.write_bytes(content)
        assert preparation.load() is None
    assert run(config(folder))["domains"] == first["domains"]
    assert preparation.load() is not None


def test_an_entry_under_the_name_of_another_is_not_taken(folder):
    one, other = PreparationCache({"a": 1}), PreparationCache({"a": 2})
    one.save({"b": torch.zeros(2)})
    other.path.write_bytes(one.path.read_bytes())
    assert one.load().keys() == {"b"}
    assert other.load() is None


def test_an_entry_made_with_more_threads_is_another(folder):
    path, threads = preparation_cache(build(config(folder))).path, torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert preparation_cache(build(config(folder))).path != path
    finally:
        torch.set_num_threads(threads)


def test_methods_without_preparation_keep_nothing(folder):
    run(RunConfig(domains=("pixelate",), num_samples=8, output=str(folder / "runs")))
    assert not (cache_folder() / "prepared").exists()
    assert preparation_cache(build(config(folder, no_cache=True))) is None


def test_an_unwritable_folder_costs_the_cache_alone(folder, monkeypatch):
    (folder / "file").write_text("")
    monkeypatch.setenv("TTA_CACHE_DIR", str(folder / "file" / "cache"))
    assert run(config(folder))["finished"]


OWN = """
from tta.methods.rmt import RobustMeanTeacher

class One(RobustMeanTeacher):
    name = "mine"

class Two(One):
    def prepare(self, source):
        pass
"""


def test_two_classes_of_one_name_share_nothing(folder):
    file = folder / "mine.py"
    file.write_text(OWN)

    def built(place, name):
        return build(replace(config(folder), method=f"{place}:{name}"))

    one, two = built(file, "One"), built(file, "Two")
    assert preparation_cache(one).path != preparation_cache(two).path
    assert one.fingerprint() != two.fingerprint()
    (folder / "elsewhere").mkdir()
    moved = folder / "elsewhere" / "mine.py"
    moved.write_text(OWN)
    assert built(moved, "One").fingerprint() == one.fingerprint()
