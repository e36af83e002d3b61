"""The script that trains source models."""

from __future__ import annotations

import numpy as np
import pytest

from tta.backbones import create_backbone
from tta.commands.run import main as run
from tta.commands.train_source import main, training_domains
from tta.foundation.errors import UserError


@pytest.fixture
def arrays(tmp_path):
    generator = np.random.default_rng(0)
    file = tmp_path / "mine.npz"
    np.savez(
        file,
        images=generator.integers(0, 256, (24, 32, 32, 3), np.uint8),
        labels=np.arange(24) % 4,
        domains=np.repeat([0, 1, 2], 8),
        names=np.array(["ink", "chalk", "neon"]),
    )
    return f"arrays:{file}"


@pytest.mark.parametrize(("flags", "heads"), [(["--drm"], 2), ([], None)])
def test_a_model_of_all_but_one_domain(arrays, tmp_path, capsys, flags, heads):
    file = tmp_path / "models" / "model.safetensors"
    common = ["--dataset", arrays, "--held-out", "chalk", "--backbone", "test_resnet"]
    small = ["--steps", "1", "--batch-size", "4", "--output", str(file)]
    assert main([*flags, *common, *small]) == 0
    printed = capsys.readouterr().out
    assert "ink" in printed and "neon" in printed and "chalk" not in printed
    found = create_backbone("test_resnet", weights=file, num_classes=4).domain_heads
    assert (None if found is None else len(found)) == heads


def test_outputs_are_called_as_the_classes_of_the_data(arrays, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, names in enumerate((None, ["d", "b", "a", "c"])):
        with np.load(arrays.removeprefix("arrays:")) as stored:
            given = dict(stored) if names is None else {**stored, "classes": np.array(names)}
        np.savez(tmp_path / f"{number}.npz", **given)
        for held_out in ([], ["--held-out", "ink"]):
            common = ["--dataset", f"arrays:{tmp_path}/{number}.npz", "--backbone", "test_resnet"]
            file = tmp_path / "model.safetensors"
            small = ["--steps", "1", "--batch-size", "4", "--output", str(file), *held_out]
            assert main([*common, *small]) == 0
            assert create_backbone("test_resnet", weights=file).label_names == names
    shown = ["--weights", str(file), "--backbone", "test_resnet", "--device", "cpu"]
    assert run(["--dataset", f"arrays:{tmp_path}/1.npz", *shown, "--method", "source"]) == 0


def test_rotated_digits_train_on_their_source_split():
    assert training_domains("digits-r", "15").name == "digits-r-source:15"
    assert training_domains("digits-r:15", None).name == "digits-r-source:15"
    assert training_domains("digits-r", None).domains == ("0", "15", "30", "45", "60")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output", "taken/model.safetensors"], "cannot write 'taken/model.safetensors'"),
        (["--output", "x", "--steps", "0"], "at least one step"),
        (["--output", "x", "--validation-fraction", "1"], "below 1, but is 1.0"),
        (["--output", "x", "--backbone", "resnet81"], "unknown backbone 'resnet81'"),
        (["--output", "x", "--weights", "none.pt"], "none.pt does not exist"),
        (["--output", "x", "--dataset", "digits", "--drm"], "leaves 1 to train on"),
    ],
)
def test_bad_input_is_refused_before_training(tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file")
    assert main(flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_an_unknown_domain_is_refused(arrays):
    with pytest.raises(UserError, match="no domain 'chalks'; did you mean 'chalk'"):
        training_domains(arrays, "chalks")


def test_a_dataset_without_a_backbone_asks_for_one(arrays, tmp_path, capsys):
    assert main(["--dataset", arrays, "--output", str(tmp_path / "x.safetensors")]) == 2
    assert "--backbone NAME" in capsys.readouterr().err
