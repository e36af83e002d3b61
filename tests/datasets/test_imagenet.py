import csv
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from tests.assets import asset
from tests.datasets.layouts import order_digest, resize_facts, validation_names, write_images
from tta.backbones import create_backbone
from tta.corruptions import corrupt
from tta.datasets import open_dataset
from tta.datasets.imagenet import (
    ImageNetR,
    ImageNetSketch,
    ImageNetV2,
    ImageNetValidation,
    imagenet_classes,
)
from tta.datasets.imagenet_c import ImageNetC, ImageNetCFull, ImageNetCGenerated
from tta.foundation.errors import UserError

SOME = imagenet_classes()[3::5]


@pytest.fixture
def renditions(tmp_path, monkeypatch):
    resize_facts(monkeypatch, ImageNetR, 400)
    names = [f"{wnid}/{kind}.jpg" for wnid in SOME for kind in ("tattoo", "art")]
    write_images(tmp_path / "imagenet-r", names)
    return tmp_path


def test_a_subset_of_the_classes_is_masked(renditions):
    data = open_dataset("imagenet-r", renditions)
    data.check(data.domains, (0,))
    assert data.class_subset == tuple(range(3, 1000, 5))
    assert data.labels("renditions", 0).tolist() == [k for k in range(200) for _ in range(2)]
    assert data.file("renditions", 0, 3).name == "tattoo.jpg"
    assert order_digest(data, renditions) == "ac1488246482"


def test_the_source_of_a_subset_has_its_classes(renditions):
    names = [f"{wnid}/{wnid}_1.JPEG" for wnid in imagenet_classes()[:20]]
    write_images(renditions / "imagenet" / "train", names)
    whole = open_dataset("imagenet", renditions)
    assert whole.labels("train", 0).tolist() == list(range(20))
    data = open_dataset(open_dataset("imagenet-r", renditions).benchmark.source, renditions)
    assert data.num_classes == 200
    assert data.labels("train", 0).tolist() == [0, 1, 2, 3]
    assert data.file("train", 0, 1).parent.name == imagenet_classes()[8]


def test_preprocessing_is_the_published_one(renditions):
    data = open_dataset("imagenet-r", renditions)
    data.image_size = (224, 224)
    published = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    for shape in [(301, 450), (777, 223), (256, 256), (100, 75)]:
        pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
        Image.fromarray(pixels).save(data.file("renditions", 0, 0))
        with Image.open(data.file("renditions", 0, 0)) as stored:
            expected = np.asarray(published(stored.convert("RGB")))
        images = data.images("renditions", 0, np.array([0]))
        assert np.array_equal(images[0].permute(1, 2, 0).numpy(), expected), shape


FAULTS = {
    "n00000001' is the folder of no ImageNet class": lambda root: (root / "n00000001").mkdir(),
    "has 199 class folders": lambda root: (root / SOME[0]).rename(root.parent / "away"),
    "has 201 class folders": lambda root: (root / imagenet_classes()[0]).mkdir(),
    "holds 399 images": lambda root: (root / SOME[4] / "art.jpg").unlink(),
    "no folder '.*imagenet-r'": lambda root: root.rename(root.parent / "away"),
}


@pytest.mark.parametrize("message", FAULTS)
def test_faults_are_found_before_the_stream(message, renditions):
    FAULTS[message](renditions / "imagenet-r")
    with pytest.raises(UserError, match=message) as error:
        open_dataset("imagenet-r", renditions).check(("renditions",), (0,))
    assert "tta.get imagenet-r" in str(error.value)


def test_folders_of_v2_are_labels_and_not_in_sorted_order(tmp_path, monkeypatch):
    resize_facts(monkeypatch, ImageNetV2, 4)
    root = tmp_path / "imagenetv2-matched-frequency-format-val"
    write_images(root, [f"{label}/0.jpeg" for label in (2, 10, 1, 999)])
    data = open_dataset("imagenet-v2", tmp_path)
    data.check(data.domains, (0,))
    assert data.labels("matched_frequency", 0).tolist() == [1, 2, 10, 999]
    assert data.file("matched_frequency", 0, 2).parent.name == "10"
    assert data.class_subset is None
    # Sorted as text, folder "10" would be the third class; it is the eleventh, and called so.
    assert data.class_names[data.labels("matched_frequency", 0)[2]] == imagenet_classes()[10]
    assert order_digest(data, tmp_path) == "f7d70933e4a6"


def test_sketches(tmp_path, monkeypatch):
    resize_facts(monkeypatch, ImageNetSketch, 2)
    names = [f"{imagenet_classes()[k]}/sketch_{k}.JPEG" for k in (500, 7)]
    write_images(tmp_path / "ImageNet-Sketch" / "sketch", names)
    data = open_dataset("imagenet-sketch", tmp_path)
    data.check(data.domains, (0,))
    assert data.labels("sketch", 0).tolist() == [7, 500]


@pytest.fixture
def corrupted(tmp_path, monkeypatch):
    names = validation_names(6)
    for dataset in (ImageNetC, ImageNetCGenerated):
        resize_facts(monkeypatch, dataset, 4)
    resize_facts(monkeypatch, ImageNetCFull, 6)
    for severity in (1, 5):
        write_images(tmp_path / "ImageNet-C" / "fog" / str(severity), names, size=(224, 224))
    (tmp_path / "ImageNet-C" / "imagenet_test_image_ids.txt").write_text("\r\n".join(names[:4]))
    write_images(tmp_path / "imagenet" / "val", names, size=(300, 260))
    return tmp_path


def test_the_subset_is_robustbench_s_list_in_its_order(corrupted):
    data = open_dataset("imagenet-c", corrupted)
    data.check(("fog",), (1, 5))
    assert data.labels("fog", 5).tolist() == [0, 7, 14, 21]
    assert data.file("fog", 1, 2).relative_to(corrupted).as_posix() == (
        f"ImageNet-C/fog/1/{validation_names(3)[2]}"
    )
    data.image_size = (224, 224)
    assert data.images("fog", 5, np.array([3, 0]))[:, 0, 0, 0].tolist() == [30, 0]


def test_all_images_are_in_sorted_order(corrupted):
    data = open_dataset("imagenet-c-full", corrupted)
    data.check(("fog",), (5,))
    assert data.labels("fog", 5).tolist() == [0, 7, 14, 21, 28, 35]
    with pytest.raises(UserError, match="no folder '.*snow/5'.*tta.get imagenet-c "):
        data.labels("snow", 5)


def test_generated_images_are_resized_and_cropped_first(corrupted):
    data = open_dataset("imagenet-c@gen", corrupted)
    data.check(data.domains, (5,))
    images = data.images("gaussian_noise", 5, np.array([1]))
    with Image.open(data.file("fog", 5, 1)) as stored:
        published = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
        clean = torch.from_numpy(np.array(published(stored))).permute(2, 0, 1)[None]
    assert torch.equal(images, corrupt(clean, "gaussian_noise", 5, ids=[49_997]))
    data.image_size = (96, 96)
    assert data.images("fog", 1, np.array([1, 2])).shape == (2, 3, 96, 96)
    full = open_dataset("imagenet-c-full@gen", corrupted)
    assert torch.equal(full.images("gaussian_noise", 5, np.array([1])), images)


LIST_FAULTS = {
    "no list '.*imagenet_test_image_ids.txt' of the 4 images": lambda file: file.unlink(),
    "has a line 'n00000001/ILSVRC": lambda file: file.write_text(
        "n00000001/ILSVRC2012_val_00000001.JPEG"
    ),
    "has a line '<!DOCTYPE'": lambda file: file.write_text("<!DOCTYPE html>"),
    "names 1 images on 2 lines where 4": lambda file: file.write_text(
        "\n".join(validation_names(1) * 2)
    ),
}


@pytest.mark.parametrize("message", LIST_FAULTS)
def test_a_wrong_list_is_refused(message, corrupted):
    LIST_FAULTS[message](corrupted / "ImageNet-C" / "imagenet_test_image_ids.txt")
    with pytest.raises(UserError, match=message):
        open_dataset("imagenet-c", corrupted).labels("fog", 5)


def test_a_missing_image_is_named(corrupted):
    (corrupted / "ImageNet-C" / "fog" / "5" / validation_names(2)[1]).unlink()
    with pytest.raises(UserError, match="no image file '.*00049997.JPEG'"):
        open_dataset("imagenet-c", corrupted).check(("fog",), (5,))


def test_classes_are_those_of_the_published_lists():
    ours = imagenet_classes()
    assert list(ours) == asset("data", "lists", "imagenet_wnids_sorted.txt").read_text().split()


def extract_photographs(root, wnids):
    """Lay out the sample's photographs of some classes as ImageNet-R; return how many."""
    rows = list(csv.DictReader(asset("data", "imagenet-sample", "labels.csv").open()))
    chosen = [row for row in rows if row["wnid"] in wnids]
    with zipfile.ZipFile(asset("data", "imagenet-sample", "images.zip")) as archive:
        for row in chosen:
            folder = root / row["wnid"]
            folder.mkdir(parents=True)
            (folder / row["file"]).write_bytes(archive.read(row["file"]))
    return len(chosen)


def mobilenet(subset):
    weights = asset("weights", "mobilenetv1_075_224_imagenet_timm.safetensors")
    return create_backbone("mobilenetv1_075", weights=weights, class_subset=subset)


def test_the_mask_of_imagenet_r_on_photographs(tmp_path, monkeypatch):
    wnids = asset("data", "lists", "imagenet_r_wnids.txt").read_text().split()
    resize_facts(monkeypatch, ImageNetR, 200)
    extract_photographs(tmp_path / "imagenet-r", wnids)
    data = open_dataset("imagenet-r", tmp_path)
    data.check(data.domains, (0,))
    accuracy = {}
    for subset in (data.class_subset, None):
        backbone = mobilenet(subset)
        data.image_size = backbone.input_size[1:]
        labels = torch.from_numpy(data.labels("renditions", 0))[::12]
        if subset is None:
            labels = torch.tensor(data.class_subset)[labels]
        images = data.images("renditions", 0, np.arange(0, 200, 12)).float() / 255
        with torch.no_grad():
            accuracy[subset] = (backbone(images).argmax(1) == labels).float().mean().item()
    assert backbone.num_classes == 1000
    assert accuracy[data.class_subset] >= accuracy[None] > 0.7


@pytest.mark.slow
def test_the_mask_of_imagenet_r_on_all_thousand_photographs(tmp_path, monkeypatch):
    wnids = asset("data", "lists", "imagenet_r_wnids.txt").read_text().split()
    resize_facts(monkeypatch, ImageNetR, 200)
    extract_photographs(tmp_path / "imagenet-r", wnids)
    subset = list(open_dataset("imagenet-r", tmp_path).class_subset)
    assert [imagenet_classes()[label] for label in subset] == sorted(wnids)
    resize_facts(monkeypatch, ImageNetValidation, 1000)
    assert extract_photographs(tmp_path / "imagenet" / "val", imagenet_classes()) == 1000
    photographs = ImageNetValidation("", tmp_path)
    masked, whole = mobilenet(tuple(subset)), mobilenet(None)
    photographs.image_size = whole.input_size[1:]
    labels = torch.from_numpy(photographs.labels("val", 0))
    right = torch.zeros(2, 1000, dtype=torch.bool)
    with torch.inference_mode():
        for rows in torch.arange(1000).split(50):
            images = photographs.images("val", 0, rows.numpy()).float() / 255
            among_all, among_some = whole(images), masked(images)
            torch.testing.assert_close(among_some, among_all[:, subset])
            right[0, rows] = among_all.argmax(1) == labels[rows]
            right[1, rows] = torch.tensor(subset)[among_some.argmax(1)] == labels[rows]
    inside = torch.isin(labels, torch.tensor(subset))
    assert inside.sum() == 200
    assert not right[1, ~inside].any()
    assert (right[1] | ~right[0])[inside].all()  # the mask never takes a right answer away
    assert right[1, inside].float().mean() >= right[0, inside].float().mean() > 0.75
    assert right[0].float().mean() == pytest.approx(0.84, abs=0.02)
