"""What is kept is taken again only when nothing it depends on has changed."""

import pytest

from tta.cache import cache_folder
from tta.config import RunConfig
from tta.experiment import build, preparation_cache, run


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


def test_methods_without_preparation_keep_nothing(folder):
    run(RunConfig(domains=("pixelate",), num_samples=8, output=str(folder / "runs")))
    assert not cache_folder().exists()
    assert preparation_cache(build(config(folder, no_cache=True))) is None


def test_an_unwritable_folder_costs_the_cache_alone(folder, monkeypatch):
    (folder / "file").write_text("")
    monkeypatch.setenv("TTA_CACHE_DIR", str(folder / "file" / "cache"))
    assert run(config(folder))["finished"]
