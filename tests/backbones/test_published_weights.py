"""Published checkpoints reach their published accuracy; needs the files of TTA_TEST_ASSETS."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tta.backbones import create_backbone

ASSETS = Path(os.environ.get("TTA_TEST_ASSETS", "/nonexistent"))
pytestmark = pytest.mark.skipif(
    not (ASSETS / "weights").is_dir(), reason="TTA_TEST_ASSETS names no folder with weights/"
)


def cifar(file, count=None):
    data = np.load(ASSETS / "data" / file)
    images = torch.from_numpy(data["images"][:count]).permute(0, 3, 1, 2)
    return images, torch.from_numpy(data["labels"][:count].astype("int64"))


def accuracy(backbone, images, labels, noise=0.0):
    """Accuracy in % on uint8 images, with Gaussian noise of that deviation."""
    generator = torch.Generator().manual_seed(0)
    guesses = []
    with torch.inference_mode():
        for batch in (chunk.float() / 255 for chunk in images.split(100)):
            batch += noise * torch.randn(batch.shape, generator=generator)
            guesses.append(backbone(batch.clamp(0, 1)).argmax(1))
    return 100 * (torch.cat(guesses) == labels).double().mean().item()


def load(name, file):
    return create_backbone(name, weights=ASSETS / "weights" / file)


RESNET20 = ("resnet20-12fca82f.th", "akamaster_resnet20_cifar10.safetensors")


def test_resnet20_on_a_thousand_images():
    pickled, plain = (load("cifar_resnet20", file) for file in RESNET20)
    assert pickled.weights_sha256 == plain.weights_sha256
    assert accuracy(plain, *cifar("cifar10/test5k.npz", 1000)) == pytest.approx(91.68, abs=1.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [
        ("cifar_resnet20", RESNET20[0], 91.68),
        ("cifar_resnet20", RESNET20[1], 91.68),
        ("cifar_resnet56", "akamaster_resnet56_cifar10.safetensors", 93.18),
    ],
)
def test_cifar10(name, file, expected):
    assert accuracy(load(name, file), *cifar("cifar10/test5k.npz")) == pytest.approx(
        expected, abs=0.1
    )


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "expected"), [(8, 64.11), (20, 69.69), (32, 71.69)])
def test_cifar100(depth, expected):
    backbone = load(
        f"cifar_resnet{depth}_distiller", f"distiller_resnet{depth}_cifar100.safetensors"
    )
    assert accuracy(backbone, *cifar("cifar100/test4k.npz")) == pytest.approx(expected, abs=2)


@pytest.mark.slow
def test_imagenet():
    backbone = load("mobilenetv1_075", "mobilenetv1_075_224_imagenet_timm.safetensors")
    folder = ASSETS / "data" / "imagenet-sample"
    rows = list(csv.DictReader((folder / "labels.csv").open()))
    with zipfile.ZipFile(folder / "images.zip") as archive:
        images = torch.stack([centre(archive.read(row["file"])) for row in rows])
    labels = torch.tensor([int(row["label"]) for row in rows])
    assert accuracy(backbone, images, labels, noise=0.18) == pytest.approx(32.7, abs=1.5)
    # 82.3 % measured; the stated 84 % names no preprocessing (resized instead of cropped: 83.3 %).
    # Another padding or epsilon would cost more than the margin: symmetric padding gives 71.7 %.
    assert accuracy(backbone, images, labels) > 80


def centre(data):
    pixels = np.array(Image.open(io.BytesIO(data)).convert("RGB"))[16:240, 16:240]
    return torch.from_numpy(pixels).permute(2, 0, 1)
