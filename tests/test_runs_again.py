"""``config.yaml`` of a run is the same run: images, labels, parameters, words and fingerprint."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from tests.datasets.layouts import jpeg, resize_facts, write_images
from tests.test_showing import OWN_NET, noise, write_twice
from tta.backbones import create_backbone
from tta.config import RunConfig
from tta.datasets.digits import CLOUD_WEIGHTS, load_digits_rgb, split_rows
from tta.datasets.imagenet import ImageNetTrain, imagenet_classes
from tta.datasets.imagenet_c import ImageNetCFull
from tta.datasets.resizing import IMAGENET, Resizing
from tta.experiment.assembly import build
from tta.foundation.yaml_files import dump_yaml

FEW = {"domains": ("pixelate", "fog"), "num_samples": 20}
OWN_DATA = {**OWN_NET, "method": "rmt", "set": {"warm_up_samples": 0}, "source": "digits"}


def again(experiment):
    """Return the experiment that its ``config.yaml`` asks for."""
    text = dump_yaml(experiment.resolved())
    return build(RunConfig.from_mapping(yaml.safe_load(text), "config.yaml"))


def check(options):
    """Return what the options make, after making it again."""
    first = build(RunConfig(**options))
    second = again(first)
    assert second.resolved() == first.resolved()
    assert second.fingerprint() == first.fingerprint()
    assert second.params == first.params
    assert second.preset == first.preset
    for one, other in ((first, second), (second, again(second))):
        assert one.plan.digest == other.plan.digest
        assert one.backbone.preprocessing == other.backbone.preprocessing
        assert np.array_equal(one.stream.labels(), other.stream.labels())
        assert same_images(one.stream, other.stream)
        assert (one.source is None) == (other.source is None)
        assert one.source is None or same_source(one.source, other.source)
    return first


def same_images(one, other):
    rows = np.arange(0, len(one.plan), max(1, len(one.plan) // 8))
    return torch.equal(one.images(rows), other.images(rows))


def same_source(one, other):
    images, labels = next(one.one_pass())
    others, other_labels = next(other.one_pass())
    return torch.equal(images, others) and torch.equal(labels, other_labels)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "rmt"},
        {"method": "tent", "set": {"lr": "1e-2"}},
        {"method": "cema", "set": {"upload_budget": 0.5}},
        {"method": "tent", "scenario": "gradual", "num_samples": 4},
        {"method": "lame", "scenario": "correlated", "dirichlet": 0.5},
        {"scenario": "class_imbalanced", "zipf": 3.0},
        {"scenario": "mixed_domains"},
        {"scenario": "recurring", "visits": 3, "dirichlet": 0.1, "order": "random:3"},
        {"scenario": "gradual+class_grouped+reset_each_shift", "num_samples": 12},
        {"scenario": "domain_blocks", "visits": 2},
        {"scenario": "markov", "markov": "n1iu", "class_stay": 0.5},
        {"scenario": "label_shift", "imbalance_ratio": 10, "draws": 30},
        {"scenario": "few_classes_per_batch", "classes_per_batch": "2,3", "tasks": 4},
        {"compose": ("fog", "jpeg_compression"), "domains": None},
        {"severity": 3},
        {"contiguous_batches": True, "batch_size": 15},
        {"method": "roid", "batch_size": 1, "window": 8},
        {"method": "asr", "preset": "asr-roid", "set": {"compat": False}},
        {"method": "rmt", "preset": "imagenet-c"},
        {"method": "tent", "on_nonfinite": "reset"},
        {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)},
        {"mean": (0.5,), "std": (0.25,)},
        {"method": "rmt", "input_size": 48},
        {"method": "rmt", "input_size": (32, 48), "resize": "squash"},
        {"method": "rmt", "input_size": 40, "crop": 0.8},
        {"backbone": "digits_vit"},
        {"precision": "bf16", "memory_format": "contiguous"},
    ],
    ids=str,
)
def test_digits(options):
    check(FEW | options)


def test_several_source_domains():
    check({"dataset": "digits-r", "method": "drm", "num_samples": 20})


@pytest.fixture
def scans(tmp_path):
    """40 scans of digits as class folders ``class0``... and as arrays, under several domains."""
    images, labels = load_digits_rgb()
    rows = split_rows(source=False)[:40]
    pixels = images[torch.from_numpy(rows)].permute(0, 2, 3, 1).numpy()
    return write_twice(tmp_path, pixels, labels[rows])


@pytest.mark.parametrize(
    ("kind", "options"),
    [(0, {}), (1, {}), (0, {"input_size": 48}), (1, {"scenario": "recorded"})],
    ids=str,
)
def test_own_images(scans, kind, options):
    experiment = check({**OWN_DATA, "dataset": scans[kind], **options})
    assert experiment.source.dataset.image_size == experiment.geometry.size


def test_own_images_made_on_the_fly(scans, tmp_path):
    folder = scans[0].removeprefix("folder:") + "/all"
    check({**OWN_DATA, "dataset": f"folder@gen:{folder}", "domains": ("fog",), "num_samples": 8})


@pytest.mark.parametrize("options", [{}, {"class_order": "natural"}, {"classes": "names"}], ids=str)
def test_the_order_of_classes(tmp_path, monkeypatch, options):
    """Class folders 1 to 10, for which the two orders differ."""
    monkeypatch.chdir(tmp_path)
    for number, pixels in enumerate(noise((20, 32, 32, 3))):
        file = tmp_path / "mine" / "all" / str(number // 2 + 1) / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    (tmp_path / "names").write_text("\n".join(map(str, range(10, 0, -1))))
    options = options or {"class_order": "sorted"}
    check({**OWN_NET, "dataset": "folder:mine", **options})


def test_what_a_checkpoint_says_of_itself(tmp_path):
    """Mean, std and size from the ``config.json`` beside it."""
    facts = {"mean": [0.1, 0.2, 0.3], "std": [0.3, 0.2, 0.1], "input_size": [3, 32, 32]}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": facts}))
    (tmp_path / "net.safetensors").write_bytes(CLOUD_WEIGHTS.read_bytes())
    net = {"backbone": "cifar_resnet32", "weights": str(tmp_path / "net.safetensors")}
    first = check({**FEW, **net, "num_classes": 10})
    assert first.backbone.normalisation == ((0.1, 0.2, 0.3), (0.3, 0.2, 0.1))


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """Options of a run on three images of ImageNet-C, with six source images."""
    names = [f"{wnid}/{wnid}_{n}.JPEG" for wnid in imagenet_classes()[:3] for n in range(2)]
    write_images(tmp_path / "imagenet" / "train", names, (300, 250))
    write_images(tmp_path / "ImageNet-C" / "fog" / "5", names[::2], (224, 224))
    resize_facts(monkeypatch, ImageNetCFull, 3)
    resize_facts(monkeypatch, ImageNetTrain, 6)
    net = create_backbone("test_resnet", num_classes=1000, pretrained=False)
    save_file(net.model.state_dict(), tmp_path / "net.safetensors")
    return {
        "dataset": "imagenet-c-full",
        "domains": ("fog",),
        "data_dir": str(tmp_path),
        "backbone": "test_resnet",
        "weights": str(tmp_path / "net.safetensors"),
        "num_classes": 1000,
        "method": "rmt",
        "batch_size": 3,
    }


@pytest.mark.parametrize("options", [{}, {"resize": "squash"}, {"crop": 0.5}], ids=str)
def test_published_images(imagenet, options):
    """Source images are cut to 224 of 256, as always; those of ImageNet-C have been."""
    experiment = check(imagenet | options)
    shown, source = experiment.dataset.resizing, experiment.source.dataset.resizing
    assert shown == replace(Resizing(), **{"crop": 1.0, "how": "shorter", **_fields(options)})
    assert source == replace(IMAGENET, **_fields(options))


def _fields(options):
    return {"how" if name == "resize" else name: value for name, value in options.items()}


def test_source_images_are_told_by_the_files_in_use(imagenet, tmp_path, monkeypatch):
    """Those of the first severity, and not of that which tests would use."""
    monkeypatch.setattr(ImageNetCFull, "domains", ("fog",))
    files = {1: tmp_path / "ImageNet-C/fog/1", 5: tmp_path / "ImageNet-C/fog/5"}
    shutil.copytree(files[5], files[1])
    options = imagenet | {"source": "imagenet-c-full", "severity": 5}
    before = build(RunConfig(**options)).source.dataset.digest()
    image = next(files[5].rglob("*.JPEG"))
    image.write_bytes(jpeg(200, (224, 224)))
    assert build(RunConfig(**options)).source.dataset.digest() == before
    image = next(files[1].rglob("*.JPEG"))
    image.write_bytes(jpeg(200, (224, 224)))
    assert build(RunConfig(**options)).source.dataset.digest() != before


def test_what_the_cloud_s_model_is_shown_counts(tmp_path):
    """A ``config.json`` beside its weights, which are the same."""
    (tmp_path / "net.safetensors").write_bytes(CLOUD_WEIGHTS.read_bytes())
    cloud = {"cloud_backbone": "cifar_resnet32", "cloud_weights": f"{tmp_path}/net.safetensors"}
    plain = check({**FEW, **cloud, "method": "cema"})
    facts = {"mean": [0.1, 0.2, 0.3], "std": [0.3, 0.2, 0.1]}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": facts}))
    assert check({**FEW, **cloud, "method": "cema"}).fingerprint() != plain.fingerprint()


def test_source_images_that_are_resized_where_test_images_are_not(tmp_path):
    """Test images of 32x32 as they are, source images of 48x48 resized, not cut, to that."""
    rows = {"labels": np.arange(20) % 10}
    np.savez(tmp_path / "test.npz", images=noise((20, 32, 32, 3)), **rows)
    large = np.repeat(np.repeat(noise((20, 24, 24, 3), 1), 2, 1), 2, 2)
    np.savez(tmp_path / "source.npz", images=large, **rows)
    options = {**OWN_DATA, "dataset": f"arrays:{tmp_path}/test.npz"}
    options["source"] = f"arrays:{tmp_path}/source.npz"
    first = check(options)
    assert first.resolved()["resize"] == "none"
    assert first.source.dataset.resizing.how == "shorter"
    cut = build(RunConfig(**options, input_size=24, resize="none"))
    assert cut.source.dataset.resizing.how == "none"
    assert cut.fingerprint() != first.fingerprint()
