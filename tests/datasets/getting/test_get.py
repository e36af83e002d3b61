import hashlib
import io
import tarfile

import pytest

from tests.datasets.getting.server import serve
from tests.datasets.layouts import cifar_c, resize_facts, validation_names, write_images
from tta.commands.get import main
from tta.corruptions import CORRUPTIONS
from tta.datasets import DATASETS
from tta.datasets.facts import DatasetFacts
from tta.datasets.getting.download import Download
from tta.datasets.getting.sources import SOURCES, Source
from tta.datasets.getting.verify import problems
from tta.datasets.imagenet_c import ImageNetC


def test_every_published_data_set_says_what_it_is_and_how_it_is_got():
    published = [name for name in DATASETS if getattr(DATASETS[name], "facts", None)]
    assert len(published) >= 20
    for name in published:
        dataset, facts = DATASETS[name], DATASETS[name].facts
        assert isinstance(facts, DatasetFacts)
        assert facts.get in SOURCES
        assert all(facts.images_of(domain) > 0 for domain in dataset.domains)
        assert facts.metric in ("error", "accuracy", "mIoU")
    for source in SOURCES.values():
        assert bool(source.files) != bool(source.by_hand)
        assert set(source.datasets) <= set(DATASETS)


def test_checksums_are_of_their_algorithm_s_length():
    lengths = {"md5": 32, "sha256": 64}
    for source in SOURCES.values():
        for file in source.files:
            if file.checksum:
                algorithm, digits = file.checksum.split(":")
                assert len(digits) == lengths[algorithm]
                assert int(digits, 16) > 0
                assert file.checksum_by
            assert file.provides


def test_a_data_set_is_got_and_verified(tmp_path, monkeypatch, capsys):
    names = validation_names(3)
    resize_facts(monkeypatch, ImageNetC, 3)
    tree = tmp_path / "tree"
    for corruption in CORRUPTIONS:
        for severity in range(1, 6):
            write_images(tree / corruption / str(severity), names)
    (tree / "imagenet_test_image_ids.txt").write_text("\n".join(names))
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.add(tree, ".")
    content = file.getvalue()
    with serve(content) as server:
        md5 = hashlib.md5(content).hexdigest()
        offered = Download(
            server.url, "all.tar", len(content), f"md5:{md5}", "nobody", ("fog", "snow")
        )
        monkeypatch.setitem(
            SOURCES, "imagenet-c", Source(("imagenet-c",), (offered,), "ImageNet-C")
        )
        root = tmp_path / "data"
        root.mkdir()
        assert main(["imagenet-c", "--data-dir", str(root)]) == 0
        assert "imagenet-c: complete" in capsys.readouterr().out
        assert not (root / "ImageNet-C" / "all.tar").exists()
        assert main(["imagenet-c", "--data-dir", str(root)]) == 0
        assert "already there" in capsys.readouterr().out
        assert len(server.asked) == 1
    first, second = (root / "ImageNet-C" / place / names[1] for place in ("snow/2", "fog/5"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:500])
    assert main(["verify", "imagenet-c", "--data-dir", str(root)]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert f"no image file '{first}'" in lines[0]
    assert f"image '{second}' cannot be decoded" in lines[1]
    assert lines[2] == "imagenet-c: 2 problems"


def test_every_missing_array_is_named(tmp_path):
    cifar_c(tmp_path / "CIFAR-100-C", CORRUPTIONS[2:])
    (tmp_path / "CIFAR-100-C" / "labels.npy").unlink()
    found = list(problems("cifar100-c", tmp_path))
    assert len(found) == 3
    for problem, stem in zip(found, ("labels", *CORRUPTIONS[:2]), strict=True):
        assert f"{stem}.npy'" in problem


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["imagenet"], "on registration: get ILSVRC2012_img_train.tar"),
        (["imagenet-c@gen"], "on registration"),
        (["pacs"], "PACS/<art_painting, cartoon, photo, sketch>/<class>/*.jpg"),
        (["cifar10c"], "did you mean"),
        (["digits-c"], "has nothing to download"),
        (["verify"], "verify what"),
    ],
)
def test_what_cannot_be_got_is_explained(arguments, message, tmp_path, capsys):
    assert main([*arguments, "--data-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
