"""Streams of one's own: arrays and folders."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.assets import asset
from tta.datasets import open_dataset


@pytest.fixture
def arrays(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    np.savez(
        tmp_path / "mine.npz",
        images=images,
        labels=[0, 1, 2, 0, 1, 2],
        domains=[1, 0, 1, 0, 1, 1],
        names=["rain", "snow"],
    )
    return images, f"arrays:{tmp_path}/mine.npz"


def test_arrays_with_interleaved_domains(arrays):
    images, path = arrays
    data = open_dataset(path)
    assert data.domains == ("rain", "snow")
    assert data.labels("snow", 0).tolist() == [0, 2, 1, 2]
    chosen = data.images("snow", 0, np.array([3, 0]))
    assert torch.equal(chosen, torch.from_numpy(images[[5, 0]]).permute(0, 3, 1, 2))
    domain, index = data.stored_order()
    assert domain.tolist() == [1, 0, 1, 0, 1, 1]
    assert index.tolist() == [0, 0, 1, 1, 2, 3]


def test_neighbouring_rows_are_a_view(arrays):
    _, path = arrays
    data = open_dataset(path)
    assert data.images("snow", 0, np.array([2, 3])).data_ptr() == data._images[4:].ctypes.data


def test_digest_follows_the_content(arrays, tmp_path):
    images, path = arrays
    before = open_dataset(path).digest()
    np.savez(tmp_path / "mine.npz", images=images ^ 1, labels=[0, 1, 2, 0, 1, 2])
    assert open_dataset(path).digest() != before


def test_folder_of_domains_and_classes(tmp_path):
    for number, place in enumerate(["sun/cat", "sun/dog", "rain/dog"]):
        folder = tmp_path / "data" / place
        folder.mkdir(parents=True)
        Image.new("RGB", (20 + number, 16), (number, 0, 0)).save(folder / "0.png")
    (tmp_path / "data" / "notes.txt").write_text("not an image")
    data = open_dataset(f"folder:{tmp_path}/data")
    assert data.domains == ("rain", "sun")
    assert data.classes == ["cat", "dog"]
    assert data.labels("rain", 0).tolist() == [1]
    data.image_size = (8, 8)
    images = data.images("sun", 0, np.array([0, 1]))
    assert images.shape == (2, 3, 8, 8)
    assert images[:, 0, 0, 0].tolist() == [0, 1]
    data.check(data.domains, (0,))


def test_the_recorded_stream_opens_in_stored_order():
    data = open_dataset(f"arrays:{asset('reference', 'cifar10c-visible.npz')}")
    assert len(data.domains) == 15
    assert data.num_classes == 10
    domain, index = data.stored_order()
    assert (np.diff(domain) >= 0).all()
    assert index[:1000].tolist() == list(range(1000))
