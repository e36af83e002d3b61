"""The scripts that merge networks and make vectors of them, and what runs then record."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tta.backbones import create_backbone
from tta.backbones.checkpoint_file import read_checkpoint
from tta.backbones.merged_words import MERGED, merged_words
from tta.config import RunConfig
from tta.datasets.digits import WEIGHTS, SourceDigits
from tta.datasets.subset import split_validation
from tta.experiment import build, run
from tta.source.models import save_source_model
from tta.source.recipe import Recipe
from tta.source.training import initial_backbone, train
from tta.source.weight_vectors import read_vectors

SCRIPTS = Path(__file__).parents[2] / "data_scripts"
BRIEF = {"domains": ["fog"], "num_samples": 40, "batch_size": 20}


def script(monkeypatch, name, *words):
    """Call a script, and return its exit status."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    return module.main()


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Return files of three networks that had a few steps from one start, and one from another."""
    folder, files = tmp_path_factory.mktemp("networks"), []
    for number, (seed, lr) in enumerate([(0, 1e-3), (0, 2e-3), (0, 3e-3), (1, 1e-3)]):
        recipe = Recipe(drm=False, steps=4, batch_size=32, lr=lr)
        network = initial_backbone("test_resnet", 10, seed=seed)
        training, _ = split_validation(SourceDigits(), recipe.validation_fraction)
        train(network, training, recipe)
        files.append(folder / f"{'abcd'[number]}.safetensors")
        save_source_model(network, files[-1], ("clean",), recipe)
    return files


@pytest.mark.parametrize(
    ("way", "more", "how"),
    [
        (
            "uniform",
            ("--statistics", "estimate"),
            "uniform soup with statistics estimated anew of ",
        ),
        ("greedy", (), "greedy soup of "),
        ("fisher", ("--samples", "4", "--shares", "1", "2", "1"), "Fisher-weighted mean of "),
    ],
)
def test_merged_networks_say_what_is_in_them(monkeypatch, networks, tmp_path, way, more, how):
    output = tmp_path / "soup.safetensors"
    given = (*networks[:3], "--dataset", "digits-c", "--output", output, *more)
    assert script(monkeypatch, "merge", way, *given) == 0
    words = merged_words(read_checkpoint(output).metadata)
    assert words.startswith(how)
    digest = create_backbone("test_resnet", weights=networks[0], num_classes=10).weights_sha256
    if way != "greedy":
        share = "0.25" if way == "fisher" else "0.333"
        assert f"a.safetensors ({digest[:8]}, weight {share}, " in words
    config = RunConfig("source", weights=str(output), **BRIEF)
    assert words in build(config).understood["weights"]


def test_networks_of_two_starts_and_other_validation_parts_are_refused(
    monkeypatch, networks, tmp_path, capsys
):
    given = ("--output", tmp_path / "soup.safetensors")
    assert script(monkeypatch, "merge", "uniform", networks[0], networks[3], *given) == 2
    assert "started from other weights" in capsys.readouterr().err
    others = (*networks[:2], "--seed", 5, *given)
    assert script(monkeypatch, "merge", "uniform", *others) == 2
    assert "was trained with --validation-fraction 0.2 --seed 0" in capsys.readouterr().err
    assert not (tmp_path / "soup.safetensors").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"how": 1}', '{"how": "x", "ingredients": [1]}'])
def test_a_header_of_another_kind_says_nothing(text):
    assert merged_words({MERGED: text}) == ""
    assert merged_words({}) == ""


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "twins"
    with pytest.MonkeyPatch.context() as patch:
        given = ("--corruptions", "fog,contrast", "--steps", 3, "--batch-size", 16)
        assert script(patch, "train_twins", *given, "--output", folder) == 0
    return folder


def test_signatures_and_task_vectors_of_twins_run(monkeypatch, twins, tmp_path, capsys):
    vectors, tasks = tmp_path / "signatures.safetensors", tmp_path / "tasks.safetensors"
    given = ("--twins", twins, "--bits", 4, "--moments", "--output", vectors)
    assert script(monkeypatch, "weight_vectors", "signatures", *given) == 0
    assert f"{vectors.stat().st_size} bytes" in capsys.readouterr().out
    found = read_vectors(vectors)
    assert found.names == ("contrast", "fog")
    source = create_backbone("test_resnet", weights=WEIGHTS, num_classes=10)
    assert found.source_sha256 == source.weights_sha256
    given = ("--twins", twins, "--output", tasks)
    assert script(monkeypatch, "weight_vectors", "tasks", *given) == 0
    for choice in ("entropy", "statistics"):
        chosen = {"signatures": str(vectors), "choice": choice}
        summary = run(RunConfig("rws", set=chosen, output=str(tmp_path), **BRIEF))
        assert summary["params_files"].keys() == {"signatures"}
    assert "params_files" in run(
        RunConfig("atlas", set={"vectors": str(tasks)}, output=str(tmp_path), **BRIEF)
    )


def test_a_run_is_known_by_what_its_files_hold(twins, monkeypatch, tmp_path):
    files = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for file, bits in zip(files[:2], (8, 4), strict=True):
        given = ("--twins", twins, "--bits", bits, "--output", file)
        assert script(monkeypatch, "weight_vectors", "signatures", *given) == 0
    files[2].write_bytes(files[0].read_bytes())
    first, other, moved = (
        build(RunConfig("rws", set={"signatures": str(file)}, **BRIEF)).fingerprint()
        for file in files
    )
    assert first == moved != other


def test_twins_of_unknown_corruptions_and_folders_without_any_are_refused(
    monkeypatch, tmp_path, capsys
):
    given = ("--corruptions", "fgo", "--output", tmp_path)
    assert script(monkeypatch, "train_twins", *given) == 2
    assert "unknown corruption 'fgo'; did you mean" in capsys.readouterr().err
    given = ("--twins", tmp_path, "--output", tmp_path / "v.safetensors")
    assert script(monkeypatch, "weight_vectors", "signatures", *given) == 2
    assert "holds no twins" in capsys.readouterr().err
