import os

import numpy as np
import pytest

from tests.assets import asset
from tests.datasets.layouts import order_digest, resize_facts, write_images
from tta.datasets import open_dataset
from tta.datasets.domain_folders import OfficeHome, Pacs, PacsSource
from tta.foundation.errors import UserError

CLASSES = ["dog", "elephant", "giraffe", "guitar", "horse", "house", "person"]


@pytest.fixture
def pacs(tmp_path, monkeypatch):
    for dataset in (Pacs, PacsSource):
        resize_facts(monkeypatch, dataset, 14)
    for domain in Pacs.domains:
        names = [f"{name}/pic_{number}.jpg" for name in CLASSES for number in (2, 1)]
        write_images(tmp_path / "PACS" / domain, names)
    return tmp_path


def test_domains_and_classes_in_order(pacs):
    data = open_dataset("pacs", pacs)
    assert data.domains == ("art_painting", "cartoon", "photo", "sketch")
    assert data.labels("photo", 0).tolist() == [k for k in range(7) for _ in range(2)]
    data.image_size = (16, 16)
    images = data.images("photo", 0, np.array([0, 1, 13]))
    assert images.shape == (3, 3, 16, 16)
    # pic_1 was written second, with shade 10; pic_2 of the last class with shade 120.
    assert np.abs(images[:, 0, 8, 8].numpy().astype(int) - [10, 0, 120]).max() <= 2
    data.check(data.domains, (0,))
    assert order_digest(data, pacs) == "30bde9b6e47e"


def test_one_domain_and_its_sources(pacs):
    data = open_dataset("pacs:cartoon", pacs)
    assert (data.name, data.domains) == ("pacs:cartoon", ("cartoon",))
    source = open_dataset(data.benchmark.source, pacs)
    assert source.domains == ("art_painting", "photo", "sketch")
    assert source.name == "pacs-source:cartoon"
    with pytest.raises(UserError, match="did you mean 'sketch'"):
        open_dataset("pacs:sketches", pacs)


def test_office_home_has_a_domain_with_a_space(tmp_path, monkeypatch):
    resize_facts(monkeypatch, OfficeHome, 65)
    for domain in OfficeHome.domains:
        names = [f"class{number:02d}/00001.jpg" for number in range(65)]
        write_images(tmp_path / "OfficeHomeDataset_10072016" / domain, names)
    data = open_dataset("office-home", tmp_path)
    data.check(("Real World",), (0,))
    assert data.labels("Real World", 0).tolist() == list(range(65))
    assert order_digest(data, tmp_path) == "3c63a727f6dc"


FAULTS = {
    "holds 13 images where PACS has 14": lambda root: (root / "photo/dog/pic_1.jpg").unlink(),
    "folder 'dogs' of another domain is missing from": lambda root: (root / "photo/dogs").mkdir(),
    "no folder '.*photo'": lambda root: (root / "photo").rename(root / "fotos"),
    "pic_1.jpg' cannot be decoded": lambda root: (root / "photo/dog/pic_1.jpg").write_bytes(b"x"),
    "cannot be decoded .*[Tt]runcated": lambda root: os.truncate(root / "photo/dog/pic_1.jpg", 600),
}


@pytest.mark.parametrize("message", FAULTS)
def test_faults_are_found_before_the_stream(message, pacs):
    FAULTS[message](pacs / "PACS")
    data = open_dataset("pacs", pacs)
    with pytest.raises(UserError, match=message) as error:
        data.check(data.domains, (0,))
    assert "tta.get pacs" in str(error.value)


def test_permission_denied_is_named(pacs, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied\)"):
        open_dataset("pacs", pacs).labels("photo", 0)


def test_the_data_folder_must_be_known(pacs, monkeypatch):
    monkeypatch.delenv("TTA_DATA_DIR", raising=False)
    with pytest.raises(UserError, match="pass --data-dir DIR or set TTA_DATA_DIR"):
        open_dataset("pacs")
    with pytest.raises(UserError, match="no folder"):
        open_dataset("pacs", pacs / "elsewhere")
    monkeypatch.setenv("TTA_DATA_DIR", str(pacs))
    assert len(open_dataset("pacs").labels("sketch", 0)) == 14


def test_the_digest_follows_the_files(pacs):
    before = open_dataset("pacs", pacs).digest()
    (pacs / "PACS/photo/dog/pic_1.jpg").write_bytes(b"another")
    assert open_dataset("pacs", pacs).digest() != before


def test_published_images(tmp_path, monkeypatch):
    import zipfile

    resize_facts(monkeypatch, Pacs, 280)
    with zipfile.ZipFile(asset("data", "pacs", "images.zip")) as archive:
        archive.extractall(tmp_path / "PACS")
    data = open_dataset("pacs", tmp_path)
    data.check(data.domains, (0,))
    assert data.classes == tuple(CLASSES)
    assert np.bincount(data.labels("sketch", 0)).tolist() == [40] * 7
    assert data.images("cartoon", 0, np.array([5, 200])).shape == (2, 3, 227, 227)
