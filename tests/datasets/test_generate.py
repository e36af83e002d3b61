import numpy as np
import pytest
import torch
from PIL import Image

from tests.datasets.layouts import cifar_binary, resize_facts, validation_names, write_images
from tta.commands.generate_corrupted import main
from tta.datasets import open_dataset
from tta.datasets.imagenet_c import ImageNetCFull, ImageNetCFullGenerated


@pytest.fixture
def cifar(tmp_path):
    cifar_binary(tmp_path / "cifar-10-batches-bin", {"test_batch.bin": 10_000}, label_bytes=1)
    return tmp_path


def test_written_arrays_are_the_images_made_on_the_fly(cifar, tmp_path, capsys):
    output = tmp_path / "made"
    command = ["cifar10-c", "--data-dir", str(cifar), "--output", str(output)]
    command += ["--corruptions", "pixelate"]
    assert main(command) == 0
    written = open_dataset("cifar10-c", output)
    made = open_dataset("cifar10-c@gen", cifar)
    written.check(("pixelate",), (1, 5))
    rows = np.array([0, 77, 9_999])
    for severity in (1, 5):
        expected = made.images("pixelate", severity, rows)
        assert torch.equal(written.images("pixelate", severity, rows), expected)
        assert written.labels("pixelate", severity).tolist() == made.labels("", 0).tolist()
    assert written.name == "cifar10-c,generated,frost=procedural"
    assert written.provenance["generated"]
    before = (output / "CIFAR-10-C" / "pixelate.npy").stat().st_mtime_ns
    (output / "CIFAR-10-C" / ".contrast.npy.tmp").write_bytes(b"interrupted")
    assert main([*command[:-1], "pixelate,contrast"]) == 0
    assert (output / "CIFAR-10-C" / "pixelate.npy").stat().st_mtime_ns == before
    written.check(("contrast",), (1,))
    assert not list(output.rglob("*.tmp"))


def test_published_files_are_not_written_over(cifar, tmp_path, capsys):
    (tmp_path / "CIFAR-10-C").mkdir()
    (tmp_path / "CIFAR-10-C" / "fog.npy").touch()
    assert main(["cifar10-c", "--data-dir", str(cifar), "--output", str(tmp_path)]) == 2
    assert "holds other files; choose another --output" in capsys.readouterr().err
    (tmp_path / "CIFAR-10-C" / "generated.json").write_text('{"frost": "official", "tta": "0"}')
    assert main(["cifar10-c", "--data-dir", str(cifar), "--output", str(tmp_path)]) == 2
    assert "generated in another way" in capsys.readouterr().err
    for spoilt in ("", "{", "[" * 9000, "5"):
        (tmp_path / "CIFAR-10-C" / "generated.json").write_text(spoilt)
        assert main(["cifar10-c", "--data-dir", str(cifar), "--output", str(tmp_path)]) == 2
        assert "or its generated.json is damaged" in capsys.readouterr().err


def test_a_part_of_the_images_is_not_enough(tmp_path, capsys):
    (tmp_path / "cifar10").mkdir()
    images = np.zeros((2, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "cifar10" / "test2.npz", images=images, labels=[0, 1])
    command = ["cifar10-c", "--data-dir", str(tmp_path), "--output", str(tmp_path)]
    assert main(command) == 2
    assert "has 10000 images, but only 2" in capsys.readouterr().err


def test_written_files_continue_where_they_stopped(tmp_path, monkeypatch, capsys):
    for dataset in (ImageNetCFull, ImageNetCFullGenerated):
        resize_facts(monkeypatch, dataset, 3)
    names = validation_names(3)
    write_images(tmp_path / "imagenet" / "val", names, size=(300, 260))
    command = ["imagenet-c-full", "--data-dir", str(tmp_path), "--output", str(tmp_path)]
    command += ["--corruptions", "contrast"]
    assert main(command) == 0
    written = open_dataset("imagenet-c-full", tmp_path)
    written.check(("contrast",), (1, 2, 3, 4, 5))
    file = written.file("contrast", 4, 1)
    with Image.open(file) as image:
        assert image.size == (224, 224)
    kept = written.file("contrast", 4, 0).stat().st_mtime_ns
    content = file.read_bytes()
    file.unlink()
    assert main(command) == 0
    assert file.read_bytes() == content
    assert written.file("contrast", 4, 0).stat().st_mtime_ns == kept
    assert written.name == "imagenet-c-full,generated,frost=procedural"
