import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests.assets import asset
from tests.datasets.layouts import cifar_binary
from tta.config import RunConfig
from tta.corruptions import corrupt
from tta.datasets import frost, open_dataset
from tta.datasets.getting.sources import SOURCES
from tta.datasets.getting.verify import problems
from tta.experiment import run
from tta.foundation.errors import UserError

SPECIFICATION = "cifar10-c@gen"


@pytest.fixture
def clean(tmp_path):
    cifar_binary(tmp_path / "cifar-10-batches-bin", {"test_batch.bin": 10_000}, label_bytes=1)
    return tmp_path


def add_pictures(root, monkeypatch):
    """Stand-ins of one level each, which count as official while the test runs."""
    folder = root / "frost"
    folder.mkdir()
    for number, name in enumerate(frost.SHA256):
        Image.new("RGB", (400, 300), (40 * number,) * 3).save(folder / name)
        digest = frost.hashlib.sha256((folder / name).read_bytes()).hexdigest()
        monkeypatch.setitem(frost.SHA256, name, digest)
    return folder


def test_the_id_says_which_textures_were_used(clean, monkeypatch):
    procedural = open_dataset(SPECIFICATION, clean)
    folder = add_pictures(clean, monkeypatch)
    official = open_dataset(SPECIFICATION, clean)
    assert procedural.name == "cifar10-c@gen,frost=procedural"
    assert official.name == "cifar10-c@gen,frost=official"
    assert procedural.digest() != official.digest()
    rows = np.arange(8)
    images = torch.from_numpy(official._clean.images[rows]).permute(0, 3, 1, 2)
    for data, textures in ((procedural, None), (official, folder)):
        expected = corrupt(images, "frost", 5, rows, frost_textures=textures)
        assert torch.equal(data.images("frost", 5, rows), expected)
    assert not torch.equal(procedural.images("frost", 5, rows), official.images("frost", 5, rows))
    fog = (data.images("fog", 5, rows) for data in (procedural, official))
    assert torch.equal(*fog)


def test_other_pictures_are_not_called_official(clean, monkeypatch):
    folder = add_pictures(clean, monkeypatch)
    Image.new("RGB", (400, 300), "red").save(folder / "frost2.png")
    with pytest.raises(UserError, match="frost2.png' is not the official.*tta.get frost"):
        open_dataset(SPECIFICATION, clean)
    (folder / "frost2.png").unlink()
    with pytest.raises(UserError, match="lacks frost2.png; get them with .*tta.get frost"):
        open_dataset(SPECIFICATION, clean)


def test_records_name_the_textures(tmp_path):
    summary = run(RunConfig(domains=("frost",), num_samples=4, output=str(tmp_path)))
    assert summary["data"] == {"frost": "procedural"}


def test_the_official_pictures_are_recognised_and_verified(tmp_path):
    shutil.copytree(asset("data", "frost"), tmp_path / "frost")
    assert frost.find_frost(tmp_path) == tmp_path / "frost"
    assert list(problems("frost", tmp_path)) == []
    (tmp_path / "frost" / "frost6.jpg").unlink()
    (tmp_path / "frost" / "frost1.png").write_bytes(b"")
    assert [problem.split("'")[0] for problem in problems("frost", tmp_path)] == ["", "no file "]


def test_they_are_got_with_a_checksum_each():
    assert [file.name for file in SOURCES["frost"].files] == sorted(frost.SHA256)
    assert all(file.checksum.startswith("sha256:") for file in SOURCES["frost"].files)
