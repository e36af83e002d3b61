"""The order of samples of every data set, fixed; and faults that all image files share."""

import os
from pathlib import Path

import pytest

from tests.datasets.layouts import (
    cifar_binary,
    cifar_c,
    order_digest,
    resize_facts,
    validation_names,
    write_images,
)
from tta.datasets import open_dataset
from tta.datasets.imagenet import ImageNetA, ImageNetSketch, imagenet_classes
from tta.datasets.imagenet_c import (
    ImageNetC,
    ImageNetCFull,
    ImageNetCFullGenerated,
    ImageNetCGenerated,
)
from tta.foundation.errors import UserError
from tta.streams import ScenarioOptions, plan_stream

FILES = {
    "imagenet-a": "9f264a85ed6c",
    "imagenet-c": "01188245b4df",
    "imagenet-c-full": "cda496c8bf21",
    "imagenet-c@gen": "a29b74f1f072",
    "imagenet-c-full@gen": "958d60d0c8aa",
    "imagenet-sketch": "1cbb1bf2b531",
}
PLANS = {
    "cifar100-c": "f8b89ad885b5",
    "cifar10-c@gen": "f8b89ad885b5",
    "digits-c": "08599174bc5f",
    "digits-r": "6928476b40de",
}


@pytest.fixture
def root(tmp_path, monkeypatch):
    for dataset in (ImageNetC, ImageNetCGenerated):
        resize_facts(monkeypatch, dataset, 4)
    for dataset in (ImageNetCFull, ImageNetCFullGenerated):
        resize_facts(monkeypatch, dataset, 6)
    resize_facts(monkeypatch, ImageNetA, 200)
    resize_facts(monkeypatch, ImageNetSketch, 9)
    names = validation_names(6)
    for corruption in ImageNetC.domains:
        write_images(tmp_path / "ImageNet-C" / corruption / "5", names, size=(8, 8))
    (tmp_path / "ImageNet-C" / "imagenet_test_image_ids.txt").write_text("\n".join(names[:4]))
    write_images(tmp_path / "imagenet" / "val", names, size=(8, 8))
    write_images(tmp_path / "imagenet-a", [f"{name}/0.1_x.jpg" for name in imagenet_classes()[::5]])
    sketches = [f"{name}/sketch_{k}.JPEG" for name in imagenet_classes()[:3] for k in (10, 9, 1)]
    write_images(tmp_path / "ImageNet-Sketch" / "sketch", sketches)
    return tmp_path


def test_image_files_come_in_a_fixed_order(root):
    found = {}
    for name in FILES:
        data = open_dataset(name, root)
        data.check(data.domains, (5,) if "-c" in name else (0,))
        found[name] = order_digest(data, root)
    assert found == FILES


def test_arrays_and_digits_come_in_a_fixed_order(tmp_path):
    cifar_c(tmp_path / "CIFAR-100-C", ("fog",))
    cifar_binary(tmp_path / "cifar-10-batches-bin", {"test_batch.bin": 10_000}, label_bytes=1)
    plans = {
        name: plan_stream(
            "continual",
            open_dataset(name, tmp_path),
            ScenarioOptions(domains=("fog",) if "-c" in name else None),
        )
        for name in PLANS
    }
    assert {name: plan.digest[:12] for name, plan in plans.items()} == PLANS


FAULTS = {
    "n00000001' is none of the 1000 class folders": lambda folder, _: (
        folder / "n00000001"
    ).mkdir(),
    "cannot be decoded": lambda _, file: file.write_bytes(b"\xff\xd8 no image"),
    r"cannot be decoded .*[Tt]runcated": lambda _, file: os.truncate(file, 600),
    "holds 5 images where ImageNet-C has 6": lambda _, file: file.unlink(),
    "no folder '.*fog/5'": lambda folder, _: folder.rename(folder.with_name("6")),
}


@pytest.mark.parametrize("message", FAULTS)
def test_faults_of_imagenet_c_are_found_before_the_stream(message, root):
    folder = root / "ImageNet-C" / "fog" / "5"
    FAULTS[message](folder, folder / validation_names(2)[1])
    with pytest.raises(UserError, match=message) as error:
        open_dataset("imagenet-c-full", root).check(("fog",), (5,))
    assert "tta.get imagenet-c" in str(error.value)


def test_a_file_that_may_not_be_read_is_named(root, monkeypatch):
    opened = Path.open

    def refuse(self, *arguments, **options):
        if self.suffix == ".JPEG":
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"image '.*' cannot be read \(Permission denied\); get it"):
        open_dataset("imagenet-c", root).check(("fog",), (5,))
