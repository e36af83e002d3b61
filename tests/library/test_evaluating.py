"""tta.evaluate with names and with objects, and what fingerprints tell apart."""

from __future__ import annotations

import copy
import json
import sys
import textwrap

import pandas as pd
import pytest
import torch
from torch import nn

import tta
from tests.fakes import RandomImages
from tests.own_nets import NUM_CLASSES, Changed, Normalised, OwnNet, made
from tta.commands.run import main
from tta.datasets import open_dataset
from tta.experiment import build
from tta.experiment.given import Given
from tta.foundation.errors import UserError
from tta.methods.tent import Tent

FEW = {"domains": ["fog"], "num_samples": 40}
OURS = {"input_size": (32, 32), "num_samples": 12, "batch_size": 6}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fingerprint(**options) -> str:
    """Return the fingerprint of a run of objects without running it."""
    given = {name: options.pop(name) for name in ("model", "dataset", "split") if name in options}
    config = tta.RunConfig(method=options.pop("method", "bn"), **{**OURS, **options})
    return build(config, given=Given(**{"dataset": RandomImages(), **given})).fingerprint()


def test_python_yaml_and_the_command_line_mean_the_same(folder, capsys):
    result = tta.evaluate(method="tent", set={"lr": 0.01}, **FEW)
    (folder / "run.yaml").write_text("method: tent\nset: {lr: 1e-2}\ndomains: [fog]\n")
    line = "--method tent --set lr=0.010 --domains fog --num-samples 40 --json".split()
    assert main(line) == 0
    command = json.loads(capsys.readouterr().out)
    yaml = tta.evaluate("run.yaml", num_samples=40)
    objects = tta.evaluate(
        tta.RunConfig(set={"lr": 0.01}), method=Tent, dataset=open_dataset("digits-c"), **FEW
    )
    prints = {command["fingerprint"], *(r.summary["fingerprint"] for r in (result, yaml, objects))}
    assert len(prints) == 1
    assert command["reused"] and yaml.summary["reused"] and objects.summary["reused"]
    assert result.path == objects.path


def test_a_result_has_summary_tables_and_path(folder):
    result = tta.evaluate(method="bn", output="mine", **FEW)
    assert result.path.is_relative_to("mine") and (result.path / "summary.json").is_file()
    assert result.summary["mean_error"] == pytest.approx(result.domains["error"].mean())
    assert result.batches["size"].sum() == result.domains["samples"].sum() == 40


def test_a_model_as_an_object_gives_its_own_figures(folder):
    network, data = made(OwnNet), RandomImages(12)
    result = tta.evaluate(model=network, dataset=data, method="source", **OURS)
    images = data.images("a", 5, torch.arange(12).numpy()) / 255
    with torch.no_grad():
        right = network(images).argmax(1) == torch.from_numpy(data.labels("a", 5))
    assert result.domains.loc[0, "accuracy"] == pytest.approx(right.float().mean().item())
    assert result.summary["objects"] == ["model", "dataset"]
    assert result.summary["backbone"] == "OwnNet"
    assert "layer 'out'" in result.summary["understood"]["head"]
    assert tta.evaluate(model=network, dataset=data, method="source", **OURS).summary["reused"]
    assert data.in_use is None and data.image_size is None


class Scaled(OwnNet):
    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images):
        return self.out(self.body(images) * self.factor)


def test_equal_models_have_equal_fingerprints_and_others_their_own():
    network = made(OwnNet)
    wrapped = nn.DataParallel(copy.deepcopy(network).train())
    assert fingerprint(model=network) == fingerprint(model=made(OwnNet))
    assert fingerprint(model=network) == fingerprint(model=wrapped)
    hooked = made(OwnNet)
    hooked.norm.register_forward_hook(lambda *_: None)
    moved = made(OwnNet)
    moved.norm.momentum = 0.3
    heavier = made(OwnNet)
    with torch.no_grad():
        heavier.out.bias.add_(1)
    others = [hooked, moved, heavier, made(Scaled), made(Scaled, 2.0), Normalised(network)]
    prints = [fingerprint(model=network.eval()), *(fingerprint(model=one) for one in others)]
    prints.append(fingerprint(model=network, mean=(0.5,), std=(0.5,)))
    prints.append(fingerprint(model=network, dataset=RandomImages(13)))
    assert len(set(prints)) == len(prints)


def test_functions_count_by_what_they_do_and_what_they_hold():
    def times(factor):
        return lambda out: (out * factor, out)[1]

    networks = [made(Changed, times(1)), made(Changed, times(1)), made(Changed, times(2))]
    networks.append(made(Changed, lambda out: out))
    first, same, *others = (fingerprint(model=network) for network in networks)
    assert first == same
    assert len({first, *others}) == 3


class Opaque:
    """Something that cannot be looked into."""

    __slots__ = ("hidden",)

    def __call__(self, out):
        return out


def test_what_cannot_be_looked_into_is_never_taken_for_equal():
    network = made(Changed, Opaque())
    assert fingerprint(model=network) != fingerprint(model=network)


def test_the_code_of_a_models_class_counts(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    source = """
        from tests.own_nets import OwnNet

        class Mine(OwnNet):
            def forward(self, images):
                return self.out(self.body(images{}))
    """
    prints = []
    for change in ("", "", " * 0.5"):
        (folder / "mine.py").write_text(textwrap.dedent(source).format(change))
        sys.modules.pop("mine", None)
        sys.path_importer_cache.clear()
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        import mine

        sys.dont_write_bytecode = before
        prints.append(fingerprint(model=made(mine.Mine)))
    sys.modules.pop("mine")
    assert prints[0] == prints[1] != prints[2]


class Inverted(RandomImages):
    def images(self, domain, severity, indices):
        return 255 - super().images(domain, severity, indices)


def test_data_that_says_no_digest_is_told_by_its_content():
    network = made(OwnNet)
    one, same, other = RandomImages(), RandomImages(), Inverted()
    assert one.digest() == same.digest() != other.digest()
    assert fingerprint(model=network, dataset=one) == fingerprint(model=network, dataset=same)
    assert fingerprint(model=network, dataset=one) != fingerprint(model=network, dataset=other)


@pytest.mark.parametrize("part", ["dataset", "source"])
def test_defaults_that_nothing_reads_are_refused(part):
    data = RandomImages()
    data.batch_size = 8
    with pytest.raises(UserError, match=r"'random' has batch_size of its own.*Benchmark"):
        tta.evaluate(**{part: data})


def test_source_images_may_be_an_object(folder):
    source = RandomImages(12, ("source",))
    options = {**OURS, "method": "rmt", "set": {"warm_up_samples": 12}, "no_cache": True}
    result = tta.evaluate(model=made(OwnNet), dataset=RandomImages(12), source=source, **options)
    source.in_use = (("source", 1),)
    assert result.summary["source_digest"] == source.digest()


def test_a_run_of_objects_goes_through_a_grid_of_methods(folder):
    for method in ("source", "tent", "bn"):
        tta.evaluate(model=made(OwnNet), dataset=RandomImages(12), method=method, **OURS)
    runs = tta.load_runs(folder / "results")
    assert sorted(runs["method"]) == ["bn", "source", "tent"]
    assert runs["fingerprint"].is_unique
    first = runs.set_index("method").loc["tent"]
    assert first["params.lr"] == Tent.Params().lr
    assert first["config.batch_size"] == 6
    errors = [first[f"error.{domain}"] for domain in "abc"]
    assert first["mean_error"] == pytest.approx(sum(errors) / 3)
    assert isinstance(runs, pd.DataFrame)


def test_load_runs_leaves_out_what_is_damaged_with_a_warning(folder):
    results = [tta.evaluate(method=method, **FEW) for method in ("source", "bn")]
    (results[0].path / "summary.json").write_text('{"schema": 1')
    with pytest.warns(UserWarning, match="left out .*source"):
        runs = tta.load_runs(folder / "results")
    assert runs["method"].tolist() == ["bn"]
    with pytest.raises(UserError, match="holds no run"):
        tta.load_runs(folder / "nowhere")


class Unnamed(Tent):
    name = None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"methods": "tent"}, "tta.evaluate has an unknown option 'methods'.*'method'"),
        ({"batch_size": "many"}, "tta.evaluate: batch_size must be"),
        ({"method": "tint"}, "unknown method 'tint'"),
        ({"method": Unnamed}, "method 'Unnamed' has no name"),
        ({"method": OwnNet}, "method 'OwnNet' is no subclass"),
        ({"dataset": [1, 2]}, "a tta.datasets.Dataset is expected, but got a list"),
        ({"source": 5, "method": "rmt"}, "a tta.datasets.Dataset is expected, but got a int"),
        ({"model": "resnet50"}, "an nn.Module is expected as the model, but got a str"),
        ({"model": made(OwnNet)}, "does not say which images it takes"),
        ({"model": made(OwnNet), "backbone": "resnet18"}, "given as an object: leave backbone out"),
        ({"model": made(OwnNet), "input_size": (1, 32, 32)}, "has 1 channels"),
        ({"split": "fc"}, "split names a layer of a model that is given as an object"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(folder, options, reason):
    with pytest.raises(UserError, match=reason):
        tta.evaluate(**{"dataset": RandomImages(), **options})
    assert not (folder / "results").exists()


def test_a_method_class_that_no_file_holds_is_refused(folder):
    spaces: dict = {"__name__": "nowhere"}
    exec("from tta.methods.tent import Tent\nclass Mine(Tent):\n    name = 'mine'\n", spaces)
    with pytest.raises(UserError, match="Mine is in no file.*save it"):
        tta.evaluate(method=spaces["Mine"], **FEW)


def test_a_method_class_of_a_file_is_that_of_the_command_line(folder, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(folder))
    (folder / "own_tent.py").write_text(
        "from tta.methods.tent import Tent\nclass Mine(Tent):\n    name = 'mine'\n"
    )
    import own_tent

    result = tta.evaluate(method=own_tent.Mine, **FEW)
    line = "--method own_tent.py:Mine --domains fog --num-samples 40 --json".split()
    assert main(line) == 0
    assert json.loads(capsys.readouterr().out)["fingerprint"] == result.summary["fingerprint"]
    sys.modules.pop("own_tent")


def test_classes_of_the_data_are_those_of_the_model(folder):
    with pytest.raises(UserError, match="labels up to 9.*knows only 5 classes"):
        tta.evaluate(model=made(OwnNet), dataset="digits-c", input_size=(32, 32))
    assert NUM_CLASSES == 5
