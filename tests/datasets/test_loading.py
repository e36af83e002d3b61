"""The path to the model: worker processes and decoded images, bit for bit as without them."""

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from tests.datasets.layouts import cifar_binary
from tta.config import RunConfig
from tta.corruptions import frost_textures
from tta.corruptions.noise import poisson_levels
from tta.datasets import decoded_cache, open_dataset
from tta.datasets.decoded_cache import DecodedImages, open_cache_folder
from tta.datasets.loading import default_workers, load_ahead
from tta.experiment import build
from tta.foundation.errors import UserError
from tta.source.source_data import SourceBatches, SourceData
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.stream import Stream


@pytest.fixture
def folder(tmp_path):
    for number in range(11):
        file = tmp_path / "own" / "ab"[number % 2] / f"class{number % 3}" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(noise).save(file)
    return tmp_path / "own"


def stream(data, workers, **options):
    plan = plan_stream("continual", data, ScenarioOptions(**options))
    return Stream(data, plan, 4, workers=workers)


def open_folder(folder, cache=None):
    data = open_dataset(f"folder:{folder}")
    data.image_size = (32, 32)
    data.decoded_cache = cache and open_cache_folder(str(cache))
    return data


def equal(first, second):
    first, second = list(first), list(second)
    assert len(first) == len(second) > 2
    for one, other in zip(first, second, strict=True):
        assert (one.start, one.stop) == (other.start, other.stop)
        assert torch.equal(one.images, other.images)


def test_image_files_are_the_same_for_any_number_of_workers(folder):
    alone = list(stream(open_folder(folder), 0))
    before = torch.get_rng_state()
    for workers in (1, 2):
        equal(alone, stream(open_folder(folder), workers))
    assert torch.equal(torch.get_rng_state(), before)


def test_no_more_workers_than_cores_that_may_be_used(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3}, raising=False)
    assert default_workers(True, torch.device("cuda")) == 1


def test_corruptions_are_the_same_for_any_number_of_workers(tmp_path):
    cifar_binary(tmp_path / "cifar-10-batches-bin", {"test_batch.bin": 10_000}, label_bytes=1)
    data = open_dataset("cifar10-c@gen", tmp_path)
    assert default_workers(data.costly, torch.device("cuda")) > 0
    options = {"domains": ("snow", "glass_blur"), "num_samples": 10}
    equal(stream(data, 0, **options), stream(data, 2, **options))


def test_source_batches_resume_among_workers(folder):
    made = []
    for workers in (0, 2):
        source = SourceData(open_folder(folder), 4, workers=workers)
        batches = SourceBatches(source)
        seen = [next(batches) for _ in range(5)]
        batches.load_state_dict({"epoch": 0, "position": 4})
        made.append([*seen, *(next(batches) for _ in range(3))])
        assert all(
            torch.equal(one, other)
            for pair in zip(seen[1:4], made[-1][5:], strict=True)
            for one, other in zip(*pair, strict=True)
        )
    for one, other in zip(*made, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_a_bad_file_is_one_message_from_a_worker_too(folder):
    data = open_folder(folder)
    data.file("a", 0, 1).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"^image '.*' cannot be decoded \(.*\); replace it"):
        list(stream(data, 2))


def _die(_):
    os._exit(1)


def test_a_killed_worker_is_explained():
    with pytest.raises(UserError, match="pass a smaller --workers"):
        list(load_ahead(_die, [0, 1], 1, False))


@pytest.mark.parametrize("workers", [0, 2])
def test_decoded_images_are_the_same_and_not_decoded_again(folder, tmp_path, workers):
    plain = list(stream(open_folder(folder), 0))
    cache = tmp_path / "cache"
    equal(plain, stream(open_folder(folder, cache), workers))
    assert sum(file.stat().st_size for file in cache.iterdir()) == 11 * (3 * 32 * 32 + 4)
    filled = open_folder(folder, cache)
    filled._decode = _die
    equal(plain, stream(filled, workers))


def test_who_open_the_cache_at_once_share_one_file(tmp_path, monkeypatch):
    create, others = decoded_cache._create, []

    def slow(file, shape):
        if not others:
            others.append(pool.submit(DecodedImages, tmp_path, "key", 2, (1, 1)))
            time.sleep(0.3)
        create(file, shape)

    monkeypatch.setattr(decoded_cache, "_create", slow)
    with ThreadPoolExecutor() as pool:
        first = DecodedImages(tmp_path, "key", 2, (1, 1))
    rows, stamps = np.arange(2), [b"a", b"b"]
    first.take(rows, stamps, lambda _: torch.full((2, 3, 1, 1), 7, dtype=torch.uint8))
    assert (others[0].result().take(rows, stamps, pytest.fail) == 7).all()
    assert [file.name for file in tmp_path.iterdir()] == ["key.rgb"]


def test_decoded_images_follow_their_files(folder, tmp_path):
    first = open_folder(folder, tmp_path / "cache")
    rows = np.arange(5)
    before = first.images("b", 0, rows)
    file = first.file("b", 0, 0)
    Image.new("RGB", (40, 40), "red").save(file)
    os.utime(file, ns=(1, 1))
    after = open_folder(folder, tmp_path / "cache").images("b", 0, rows)
    assert not torch.equal(before[0], after[0])
    assert torch.equal(before[1:], after[1:])


def test_a_half_written_image_is_decoded_again(folder, tmp_path):
    data = open_folder(folder, tmp_path / "cache")
    expected = data.images("a", 0, np.array([3, 3, 0]))
    (store,) = data._stores.values()
    store._rows[3, :7] = 0
    assert torch.equal(data.images("a", 0, np.array([3, 3, 0])), expected)


def test_where_decoded_images_cannot_be_kept(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="choose another --decoded-cache"):
        open_cache_folder(str(tmp_path / "file" / "cache"))
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr("tta.datasets.decoded_cache.shutil.disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="make room or leave --decoded-cache out"):
        open_folder(folder, tmp_path / "cache").images("a", 0, np.array([0]))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system reserves no room")
def test_a_disk_that_has_no_room_after_all(folder, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tta.datasets.decoded_cache.os.posix_fallocate", full)
    with pytest.raises(UserError, match="No space left.*choose another --decoded-cache"):
        open_folder(folder, tmp_path / "cache").images("a", 0, np.array([0]))


def test_the_options_reach_the_stream_and_leave_the_fingerprint_alone(tmp_path):
    base = {"domains": ("pixelate",), "num_samples": 8, "method": "rmt"}
    plain = build(RunConfig(**base))
    other = build(RunConfig(**base, workers=2, decoded_cache=str(tmp_path)))
    assert (plain.stream.workers, other.stream.workers, other.source.workers) == (0, 2, 2)
    assert other.dataset.decoded_cache == tmp_path
    assert plain.fingerprint() == other.fingerprint()


def test_what_is_made_once_is_made_before_the_stream():
    data = open_dataset("digits-c")
    options = ScenarioOptions(domains=("shot_noise", "frost"), num_samples=8)
    batches = Stream(data, plan_stream("continual", data, options), 4)
    once = poisson_levels, frost_textures._load
    for made in once:
        made.cache_clear()
    batches.warm_up()
    assert [made.cache_info().currsize for made in once] == [1, 1]
    list(batches)
    assert [made.cache_info().misses for made in once] == [1, 1]


def test_what_is_loaded_in_this_process_is_locked_too(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self + 1)
    loaded = [part.item() for part in load_ahead(torch.tensor, [1, 2], 0, pin=True)]
    assert loaded == [2, 3]
    assert [part.item() for part in load_ahead(torch.tensor, [1, 2], 0, pin=False)] == [1, 2]
