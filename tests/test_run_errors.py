"""Bad input: one line that says what is wrong and how to mend it, status 2, no traceback."""

import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from tta.commands.run import main

IMAGES = np.zeros((8, 32, 32, 3), np.uint8)
LABELS = np.arange(8) % 4


def save(path, **arrays):
    np.savez(path, **{"images": IMAGES, "labels": LABELS, **arrays})
    return path


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """Run the command, and return its one line of error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        status = main([*arguments])
        captured = capsys.readouterr()
        assert status == 2
        assert captured.err.startswith("error: ")
        assert captured.err.count("\n") == 1
        assert "Traceback" not in captured.err
        assert not (tmp_path / "results").exists()
        return captured.err

    return run


def raises(error: Exception) -> None:
    raise error


@pytest.fixture
def refused_while_running(refused, monkeypatch):
    """Let the run itself fail, and return the one line of error."""

    def run(fail) -> str:
        monkeypatch.setattr("tta.experiment.execution.run_experiment", lambda *_, **__: fail())
        return refused()

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "tnet"], "did you mean 'tent'"),
        (["--dataset", "digit-c"], "did you mean 'digits-c'"),
        (["--scenario", "continul"], "did you mean 'continual'"),
        (["--backbone", "resnet81"], "did you mean"),
        (["--method", "tent", "--set", "learning_rate=1"], "no parameter 'learning_rate'"),
        (["--method", "tent", "--set", "lrr=1"], "did you mean 'lr'"),
        (["--method", "tent", "--set", "lr=fast"], "tent.lr must be float, but got 'fast'"),
        (["--method", "tent", "--set", "lr=-1"], "tent.lr must be at least 0"),
        (["--method", "tent", "--set", "lr=.nan"], "tent.lr must be finite float, but got nan"),
        (["--method", "tent", "--set", "lr=inf"], "tent.lr must be float, but got 'inf'"),
        (["--method", "tent", "--set", "momentum=1"], "at least 0.0 and below 1.0, but got 1.0"),
        (["--method", "lame", "--set", "k=.inf"], "lame.k must be finite int, but got inf"),
        (["--method", "lame", "--set", "k=2e-1"], "lame.k must be int, but got 0.2"),
        (["--method", "bn_alpha", "--set", "layer_weights=[.nan]"], "finite float, but got nan"),
        (["--method", "tent", "--set", "optimizer=lion"], "one of adam, sgd"),
        (["--method", "tent", "--set", "lr"], "--set takes NAME=VALUE"),
        (["--method", "bn_alpha", "--set", "target_weight=2"], "between 0.0 and 1.0"),
        (["--preset", "nothing"], "unknown preset 'nothing'"),
        (["--batch-size", "0"], "--batch-size must be at least 1"),
        (["--batch-size", "many"], "--batch-size: invalid int value"),
        (["--window", "4"], "--batch-size 1"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--domains", "fog,fogg"], "no domain 'fogg'; did you mean 'fog'"),
        (["--severity", "7"], "no severity 7"),
        (["--dataset", "arrays:none.npz"], "no file 'none.npz'"),
        (["--dataset", "folder:none"], "no folder 'none'"),
        (["--dataset", "digits-c:x"], "digits-c takes no path"),
        (["--dataset", "arrays"], "write arrays:PATH"),
        (["--weights", "none.pth"], "none.pth"),
        (["--method", "none.py:Mine"], "'none.py' does not exist"),
        (["--config", "none.yaml"], "cannot read 'none.yaml'"),
    ],
)
def test_names_and_values(refused, arguments, message):
    assert message in refused(*arguments)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES.astype(np.float32)}, "must be uint8 of shape [N, H, W, 3]"),
        ({"images": IMAGES[..., 0]}, "must be uint8 of shape [N, H, W, 3]"),
        ({"images": IMAGES[:0]}, "N > 0"),
        ({"labels": LABELS[:5]}, "8 images but 5 labels"),
        ({"labels": LABELS.astype(float)}, "must be integers"),
        ({"labels": LABELS - 2}, "must not be below -1 (-1 is for unknown images)"),
        ({"domains": np.zeros(3, int)}, "8 images but 3 domains"),
        ({"domains": LABELS, "names": np.array(["a", "b"])}, "a name of its own"),
        ({"labels": LABELS + 9}, "knows only 10 classes"),
    ],
)
def test_arrays(refused, tmp_path, arrays, message):
    path = save(tmp_path / "bad.npz", **arrays)
    backbone = ["--backbone", "cifar_resnet20", "--weights", str(resnet20(tmp_path))]
    assert message in refused("--dataset", f"arrays:{path}", *backbone)


def resnet20(folder):
    import timm

    import tta.backbones.nets  # noqa: F401 - registers the net

    path = folder / "resnet20.pth"
    torch.save(timm.create_model("cifar_resnet20").state_dict(), path)
    return path


def test_missing_key_names_those_that_are_there(refused, tmp_path):
    np.savez(tmp_path / "bad.npz", pictures=IMAGES, labels=LABELS)
    error = refused("--dataset", "arrays:bad.npz")
    assert "no array 'images', only labels, pictures" in error


def test_damaged_npz(refused, tmp_path):
    path = save(tmp_path / "bad.npz")
    path.write_bytes(path.read_bytes()[:300])
    assert "cannot be read as an .npz file" in refused("--dataset", "arrays:bad.npz")


def test_arrays_of_objects_are_not_unpickled(refused, tmp_path):
    save(tmp_path / "bad.npz", labels=np.array([{"a": 1}] * 8, dtype=object))
    assert "plain arrays" in refused("--dataset", "arrays:bad.npz")


def test_a_dataset_of_ones_own_needs_a_backbone(refused, tmp_path):
    save(tmp_path / "good.npz")
    assert "pass --backbone" in refused("--dataset", "arrays:good.npz")


def test_truncated_image_is_found_before_the_stream_starts(refused, tmp_path):
    for number in range(10):
        folder = tmp_path / "data" / "photo" / f"class{number}"
        folder.mkdir(parents=True)
        noise = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(noise).save(folder / "x.png")
    broken = tmp_path / "data" / "photo" / "class1" / "x.png"
    broken.write_bytes(broken.read_bytes()[:200])
    weights = ["--backbone", "cifar_resnet20", "--weights", str(resnet20(tmp_path))]
    error = refused("--dataset", "folder:data", *weights)
    assert "class1/x.png" in error
    assert "replace it or remove it" in error


def test_empty_folder(refused, tmp_path):
    (tmp_path / "data" / "photo" / "dog").mkdir(parents=True)
    assert "<domain>/<class>/" in refused("--dataset", "folder:data")


def test_checkpoint_of_another_architecture(refused, tmp_path):
    error = refused("--backbone", "resnet18", "--weights", str(resnet20(tmp_path)))
    assert "resnet18" in error


class RunsCode:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_a_pickle_that_runs_code_is_refused_unrun(refused, tmp_path):
    with (tmp_path / "evil.pth").open("wb") as file:
        pickle.dump({"weight": RunsCode()}, file, protocol=2)
    refused("--backbone", "cifar_resnet20", "--weights", "evil.pth")
    torch.save({"weight": RunsCode()}, tmp_path / "evil.pth")
    refused("--backbone", "cifar_resnet20", "--weights", "evil.pth")
    assert not (tmp_path / "executed").exists()


def test_unmet_needs(refused, tmp_path):
    save(tmp_path / "good.npz")
    run = ["--dataset", "arrays:good.npz", "--backbone", "cifar_resnet20"]
    error = refused("--method", "rmt", *run, "--weights", str(resnet20(tmp_path)))
    assert "needs source images; pass --source" in error


def test_yaml_files(refused, tmp_path):
    (tmp_path / "a.yaml").write_text("methd: tent")
    assert "unknown option 'methd'; did you mean 'method'" in refused("--config", "a.yaml")
    (tmp_path / "a.yaml").write_text("batch_size: [1")
    assert "not valid YAML" in refused("--config", "a.yaml")
    (tmp_path / "a.yaml").write_text("batch_size: many")
    assert "batch_size must be a whole number or null, but got 'many'" in refused(
        "--config", "a.yaml"
    )
    (tmp_path / "a.yaml").write_text("- tent")
    assert "must hold a mapping" in refused("--config", "a.yaml")
    (tmp_path / "a.yaml").write_text("grid: {method: [tent]}")
    assert "is a grid of runs; pass it to python -m tta.sweep" in refused("--config", "a.yaml")
    (tmp_path / "a.yaml").write_text("set: 3")
    assert "set must be a mapping, such as {lr: 0.001}, but got 3" in refused(
        "--config", "a.yaml", "--set", "lr=1"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1: foo", "'a.yaml' has 1 where a name is expected"),
        ("set: {1: 2}", "'a.yaml' has 1 where a name is expected"),
        ("on: tent", "'a.yaml' has True where a name is expected; put it in quotes"),
        ("domains: [1, 2]", "domains must list names, but got [1, 2]; quote numbers"),
        ("dirichlet: .inf", "--dirichlet must be finite"),
    ],
)
def test_yaml_of_the_wrong_kind(refused, tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    assert message in refused("--config", "a.yaml")


def test_unwritable_output(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert "choose another --output" in refused("--output", "file/runs")


def test_user_file_without_the_class(refused, tmp_path):
    (tmp_path / "mine.py").write_text("class Mine: pass\n")
    assert "no subclass of tta.methods.Method named 'Mine'" in refused("--method", "mine.py:Mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nimport nowhere_to_be_found\n", "line 2 (ModuleNotFoundError: No module named"),
        ("x = 1\n\ndef f(:\n", "line 3 (SyntaxError: "),
        ("def f():\n    return y\n\nf()\n", "line 2 (NameError: name 'y' is not defined"),
        ("from tta.methods import Method\nclass Mine(Method): pass\n", "such as name = 'mine'"),
        (
            "from tta.methods import Method\nclass Mine(Method):\n"
            "    name = 'mine'\n    class Params: lr: float = 1\n",
            "Mine in 'mine.py' has Params that are no dataclass",
        ),
    ],
)
def test_user_file_that_is_not_whole(refused, tmp_path, text, message):
    (tmp_path / "mine.py").write_text(text)
    assert message in refused("--method", "mine.py:Mine", "--params")


@pytest.mark.parametrize(
    "fail",
    [
        lambda: torch.empty(1 << 50),  # bytes: the allocator of a CPU refuses
        lambda: raises(MemoryError()),
        lambda: raises(torch.cuda.OutOfMemoryError("CUDA out of memory")),
        lambda: raises(RuntimeError("MPS backend out of memory")),
    ],
)
def test_out_of_memory(refused_while_running, fail):
    assert "out of memory; use a smaller --batch-size" in refused_while_running(fail)


def test_other_errors_of_torch_are_not_taken_for_lack_of_memory(refused_while_running):
    with pytest.raises(RuntimeError, match="shape"):
        refused_while_running(lambda: raises(RuntimeError("shape mismatch")))
