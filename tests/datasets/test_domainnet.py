import gzip

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from tests.assets import asset
from tests.datasets.layouts import order_digest, resize_facts, write_images
from tta.datasets import open_dataset
from tta.datasets.domainnet import TARGETS, DomainNet126, DomainNet126Source
from tta.foundation.errors import UserError


@pytest.fixture
def domainnet(tmp_path, monkeypatch):
    root = tmp_path / "DomainNet-126"
    for dataset in (DomainNet126, DomainNet126Source):
        resize_facts(monkeypatch, dataset, 3)
    for domain in TARGETS:
        names = [f"{domain}/{name}/{domain}_001_00000{n}.jpg" for n, name in enumerate("cab")]
        write_images(root, names, size=(60, 40))
        lines = [f"{name} {label}" for name, label in zip(names, (125, 3, 40), strict=True)]
        (root / f"{domain}_list.txt").write_text("\r\n".join(lines))
    return tmp_path


@pytest.mark.parametrize("source", TARGETS)
def test_targets_follow_the_source_domain(domainnet, source):
    data = open_dataset(f"domainnet126:{source}", domainnet)
    assert data.domains == TARGETS[source]
    assert open_dataset(data.benchmark.source, domainnet).domains == (source,)
    data.check(data.domains, (0,))


def test_the_order_is_that_of_the_lists(domainnet):
    data = open_dataset("domainnet126", domainnet)
    assert data.name == "domainnet126:real"
    assert data.labels("sketch", 0).tolist() == [125, 3, 40]
    assert data.file("sketch", 0, 1).name == "sketch_001_000001.jpg"
    assert order_digest(data, domainnet) == "d987191d3ae9"


def test_preprocessing_is_the_published_one(domainnet):
    rng = np.random.default_rng(0)
    data = open_dataset("domainnet126", domainnet)
    data.image_size = (224, 224)
    picture = Image.fromarray(rng.integers(0, 256, (301, 450, 3), np.uint8))
    picture.save(data.file("sketch", 0, 0))
    published = transforms.Compose([transforms.Resize((256, 256)), transforms.CenterCrop(224)])
    with Image.open(data.file("sketch", 0, 0)) as stored:
        expected = np.asarray(published(stored.convert("RGB")))
    images = data.images("sketch", 0, np.array([0]))
    assert np.array_equal(images[0].permute(1, 2, 0).numpy(), expected)


FAULTS = {
    "no list '.*sketch_list.txt'": lambda root: (root / "sketch_list.txt").unlink(),
    "has 1 images, not 3": lambda root: (root / "sketch_list.txt").write_text("sketch/a/b.jpg 1"),
    "has a line 'sketch/a/b.jpg'": lambda root: (root / "sketch_list.txt").write_text(
        "sketch/a/b.jpg"
    ),
    "a label below 126": lambda root: (root / "sketch_list.txt").write_text("sketch/a/b.jpg 126"),
    "sketch/../../x": lambda root: (root / "sketch_list.txt").write_text("sketch/../../x.jpg 1"),
    "no image file '.*000002.jpg'": lambda root: (
        root / "sketch" / "b" / "sketch_001_000002.jpg"
    ).unlink(),
}


@pytest.mark.parametrize("message", FAULTS)
def test_faults_are_found_before_the_stream(message, domainnet):
    FAULTS[message](domainnet / "DomainNet-126")
    data = open_dataset("domainnet126", domainnet)
    with pytest.raises(UserError, match=message) as error:
        data.check(data.domains, (0,))
    assert "tta.get domainnet126" in str(error.value)


def test_a_published_list(tmp_path):
    (tmp_path / "DomainNet-126").mkdir()
    lines = gzip.open(asset("data", "lists", "domainnet126_clipart_list.txt.gz")).read()
    (tmp_path / "DomainNet-126" / "clipart_list.txt").write_bytes(lines)
    data = open_dataset("domainnet126:real", tmp_path)
    labels = data.labels("clipart", 0)
    assert len(labels) == 18_523
    assert (np.bincount(labels, minlength=126) > 0).all()
    last = lines.decode().split("\n")[18_522].split(" ")
    assert data.file("clipart", 0, 18_522) == tmp_path / "DomainNet-126" / last[0]
    assert labels[-1] == int(last[1])
