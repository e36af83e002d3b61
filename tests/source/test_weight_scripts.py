"""The scripts that merge networks and make vectors of them, and what runs then record."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tta.backbones import create_backbone
from tta.backbones.checkpoint import INSTANCE_AWARE
from tta.backbones.checkpoint_file import read_checkpoint
from tta.backbones.layer_eps import layer_eps
from tta.backbones.merged_words import MERGED, merged_words
from tta.config import RunConfig
from tta.datasets.digits import WEIGHTS, SourceDigits
from tta.datasets.subset import split_validation
from tta.experiment import build, run
from tta.foundation.errors import UserError
from tta.source.checkpoint_vectors import vectors_to
from tta.source.merging import average
from tta.source.models import save_source_model, write_network
from tta.source.recipe import Recipe
from tta.source.training import initial_backbone, train
from tta.source.twins import CorruptedSource
from tta.source.weight_vector_files import read_vectors

SCRIPTS = Path(__file__).parents[2] / "data_scripts"
BRIEF = {"domains": ["fog"], "num_samples": 40, "batch_size": 20}


def load(monkeypatch, name):
    """Return a script as a module."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def script(monkeypatch, name, *words):
    """Call a script, and return its exit status."""
    module = load(monkeypatch, name)
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


@pytest.mark.parametrize(
    ("way", "more", "words"),
    [
        ("fisher", ("--samples", 0), "--samples 0: "),
        ("fisher", ("--shares", -1, 2), "shares are a number of at least 0 for each of 2 networks"),
        ("fisher", ("--shares", 0, 0), "shares are a number of at least 0 for each of 2 networks"),
        ("fisher", ("--shares", 1), "shares are a number of at least 0 for each of 2 networks"),
        ("fisher", ("--shares", 1, 2, "--grid", 3), "pass one of the two"),
        ("fisher", ("--floor", "nan"), "--floor nan: "),
        ("uniform", ("--shares", 1, 2), "are of fisher"),
        ("uniform", ("--validation-fraction", 1), "at least 0 and below 1"),
        ("uniform", ("--validation-fraction", "nan"), "at least 0 and below 1"),
        ("uniform", ("--validation-fraction", 0), "was trained with --validation-fraction 0.2"),
    ],
)
def test_options_that_do_not_fit_are_said_in_one_line(
    monkeypatch, networks, tmp_path, capsys, way, more, words
):
    given = (*networks[:2], *more, "--output", tmp_path / "soup.safetensors")
    assert script(monkeypatch, "merge", way, *given) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "soup.safetensors").exists()


def test_one_file_twice_is_refused(monkeypatch, networks, tmp_path, capsys):
    again = networks[0].parent / ".." / networks[0].parent.name / networks[0].name
    given = (networks[0], again, "--output", tmp_path / "soup.safetensors")
    assert script(monkeypatch, "merge", "uniform", *given) == 2
    assert "is given twice" in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained_on_all(tmp_path_factory):
    """Return files of two networks for which no image was kept out of training."""
    folder, files = tmp_path_factory.mktemp("all"), []
    for lr in (1e-3, 2e-3):
        recipe = Recipe(drm=False, steps=1, batch_size=8, lr=lr, validation_fraction=0)
        network = initial_backbone("test_resnet", 10)
        train(network, SourceDigits(), recipe)
        files.append(folder / f"{lr}.safetensors")
        save_source_model(network, files[-1], ("clean",), recipe)
    return files


def test_networks_trained_on_all_images_are_merged_unjudged(
    monkeypatch, trained_on_all, tmp_path, capsys
):
    output = tmp_path / "soup.safetensors"
    given = (*trained_on_all, "--validation-fraction", 0, "--output", output)
    for way, more in (("uniform", ()), ("fisher", ("--samples", 2))):
        assert script(monkeypatch, "merge", way, *given, *more) == 0
        assert "of 2 networks, not judged" in capsys.readouterr().out
        words = merged_words(read_checkpoint(output).metadata)
        assert "weight 0.5), " in words
        assert "%" not in words
    for way, more in (("greedy", ()), ("fisher", ("--grid", 3))):
        assert script(monkeypatch, "merge", way, *given, *more) == 2
        assert "chooses by accuracy on images that were kept out" in capsys.readouterr().err


def test_networks_of_two_kinds_of_batch_norm_are_refused(monkeypatch, networks, tmp_path, capsys):
    state = load_file(networks[1]) | {INSTANCE_AWARE: torch.tensor(4.0)}
    other = tmp_path / "aware.safetensors"
    save_file(state, other)
    for pair in ((networks[0], other), (other, networks[0])):
        given = (*pair, "--output", tmp_path / "soup.safetensors")
        assert script(monkeypatch, "merge", "uniform", *given) == 2
        assert "the batch norm of one is instance-aware" in capsys.readouterr().err


@pytest.fixture
def of_another_eps(networks, tmp_path):
    """Return files of two networks whose layers have eps 1e-3, and mean and std of their own."""
    files, normalisation = [], ([0.4999, 0.5, 0.6], [0.4, 0.5, 0.6])
    for file in networks[:2]:
        network = create_backbone("test_resnet", weights=file, normalisation=normalisation)
        for layer in layer_eps(network.model):
            network.model.get_submodule(layer).eps = 1e-3
        files.append(tmp_path / file.name)
        write_network(network, files[-1], {})
    return files


def loaded(file):
    return create_backbone("test_resnet", weights=file, num_classes=10)


def assert_same_outputs(one, other):
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(one(images), other(images))


@pytest.mark.parametrize("way", ["uniform", "greedy", "fisher"])
def test_what_is_written_computes_what_was_merged(monkeypatch, of_another_eps, tmp_path, way):
    merge, output = load(monkeypatch, "merge"), tmp_path / "soup.safetensors"
    written = []

    def write(backbone, *rest):
        written.append(backbone.clone())
        return write_network(backbone, *rest)

    monkeypatch.setattr(merge, "write_network", write)
    given = (way, *of_another_eps, "--samples", 4, "--output", output)
    monkeypatch.setattr(sys, "argv", ["merge", *map(str, given)])
    assert merge.main() == 0
    found = loaded(output)
    assert_same_outputs(written[0], found)
    assert found.weights_sha256 == loaded(output).weights_sha256
    assert set(layer_eps(found.model).values()) == {1e-3}
    if way == "uniform":
        mean = loaded(of_another_eps[0])
        states = [loaded(file).model.state_dict() for file in of_another_eps]
        mean.model.load_state_dict(average(states))
        assert_same_outputs(mean, found)


def test_networks_of_another_eps_are_refused(
    monkeypatch, networks, of_another_eps, tmp_path, capsys
):
    given = (networks[0], of_another_eps[1], "--output", tmp_path / "soup.safetensors")
    assert script(monkeypatch, "merge", "uniform", *given) == 2
    error = capsys.readouterr().err
    assert "b.safetensors cannot be merged with" in error
    assert "layers have another eps, 'conv1.1' first: 1e-05 and 0.001; choose files of" in error
    assert error.count("\n") == 1


def test_twins_and_their_vectors_keep_eps(monkeypatch, of_another_eps, networks, tmp_path, capsys):
    twins, start = tmp_path / "twins", of_another_eps[0]
    given = ("--corruptions", "contrast", "--steps", 1, "--batch-size", 8, "--output", twins)
    assert script(monkeypatch, "train_twins", "--weights", start, *given) == 0
    twin = loaded(twins / "contrast.safetensors")
    assert set(layer_eps(twin.model).values()) == {1e-3}
    assert twin.normalisation == loaded(start).normalisation
    vectors = ("--twins", twins, "--output", tmp_path / "v.safetensors")
    assert script(monkeypatch, "weight_vectors", "tasks", "--start", start, *vectors) == 0
    assert read_vectors(vectors[-1]).source_sha256 == loaded(start).weights_sha256
    other = ("--start", networks[0])
    assert script(monkeypatch, "weight_vectors", "tasks", *other, *vectors) == 2
    assert "contrast cannot be compared with the start: " in capsys.readouterr().err
    with pytest.raises(UserError, match="does not fit backbone .* layers have another eps"):
        vectors_to([start], loaded(networks[0]))
    plain, source = tmp_path / "plain.safetensors", loaded(networks[0])
    write_network(source, plain, {})
    source.normalisation = ((0.4,) * 3, (0.3,) * 3)
    with pytest.raises(UserError, match="trained on images less mean 0.5, by std 0.5"):
        vectors_to([plain], source)


def test_a_source_model_of_another_eps_keeps_it_in_training(of_another_eps, tmp_path):
    network = initial_backbone("test_resnet", 3, of_another_eps[0])
    save_source_model(network, tmp_path / "s.safetensors", ("clean",), Recipe())
    found = create_backbone("test_resnet", weights=tmp_path / "s.safetensors")
    assert (found.outputs, found.model.bn1.eps) == (3, 1e-3)
    assert_same_outputs(network, found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"how": 1}',
        '{"how": "x", "ingredients": [1]}',
        '{"how": "x", "ingredients": [{"file": "a", "sha256": "b", "weight": 1, "accuracy": 1%s}]}'
        % ("0" * 400),
    ],
)
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


def test_severities_that_there_are_not_are_refused_before_training(monkeypatch, tmp_path, capsys):
    given = ("--severity", 7, "--output", tmp_path / "twins")
    assert script(monkeypatch, "train_twins", *given) == 2
    assert "--severity 7: severities of corruptions are 1, 2, 3, 4, 5" in capsys.readouterr().err
    assert not (tmp_path / "twins").exists()
    with pytest.raises(UserError, match="--severity 0"):
        CorruptedSource(SourceDigits(), 0)


def test_twins_may_be_trained_on_all_images(monkeypatch, tmp_path, capsys):
    given = ("--corruptions", "contrast", "--steps", 1, "--batch-size", 8)
    given = (*given, "--validation-fraction", 0, "--output", tmp_path)
    assert script(monkeypatch, "train_twins", *given) == 0
    assert capsys.readouterr().out.count("trained on all images") == 2


@pytest.mark.parametrize("layers", [-1, 0])
def test_vectors_are_of_at_least_one_layer(monkeypatch, twins, tmp_path, capsys, layers):
    given = ("--twins", twins, "--layers", layers, "--output", tmp_path / "v.safetensors")
    assert script(monkeypatch, "weight_vectors", "tasks", *given) == 2
    assert f"--layers {layers}: vectors are of at least one layer" in capsys.readouterr().err
    assert not (tmp_path / "v.safetensors").exists()


def test_a_clean_twin_of_another_start_is_refused(monkeypatch, twins, networks, tmp_path, capsys):
    folder = tmp_path / "twins"
    shutil.copytree(twins, folder)
    shutil.copy(networks[3], folder / "clean.safetensors")
    given = ("--twins", folder, "--output", tmp_path / "v.safetensors")
    assert script(monkeypatch, "weight_vectors", "signatures", *given) == 2
    assert "clean cannot be compared with the start: " in capsys.readouterr().err
    assert script(monkeypatch, "weight_vectors", "tasks", *given) == 0
