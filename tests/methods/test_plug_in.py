"""Methods around another method: which one, with which hyper-parameters, and how it is kept."""

import io
import sys

import pytest
import torch

import tta
from tests.fakes import make_backbone, make_images, make_source
from tests.test_conformance import PARAMS
from tta.commands.run import main
from tta.config import RunConfig
from tta.datasets import open_dataset
from tta.experiment import build
from tta.experiment.resolving import resolve_params
from tta.foundation.errors import UserError
from tta.methods import METHODS
from tta.methods.eata import Eata
from tta.methods.params import build_params, changed_params, plain_params
from tta.methods.published import published_for
from tta.methods.requirements import check_needs
from tta.methods.sar import Sar
from tta.methods.tent import Tent
from tta.testing.checks import CHECKS

BATCHES = [make_images(count, seed=count) for count in (6, 1, 5)]
FEW = {"source_styles": 3, "copies": 3, "styles_kept": 6, "quantile": 0.0}
AROUND = [
    ("buffer", "sar"),
    ("buffer", "roid"),
    ("reservoir", "rmt"),
    ("reservoir", "lame"),
    ("reservoir", "eata"),
    ("reservoir", "note"),
    ("reservoir", "rotta"),
    ("reservoir", "poem"),
    ("reservoir", "palm"),
]


def make(name, inner, **params):
    method = METHODS[name]
    within = {f"inner.{key}": value for key, value in PARAMS.get(inner, {}).items()}
    few = FEW if name == "reservoir" else {}
    values = build_params(method.Params, {"inner": inner, **within, **few, **params}, name)
    made = method(make_backbone("batch_norm"), values, seed=7)
    made.start(make_source())
    return made


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("pair", AROUND, ids="-".join)
def test_around_any_method_every_promise_is_kept(pair, check):
    check.run(lambda: make(*pair))


def test_hyper_parameters_of_the_method_inside_are_checked_as_its_own():
    kind = METHODS["reservoir"].Params
    params = build_params(kind, {"inner": "sar", "inner.margin": "0.3", "copies": 2}, "reservoir")
    assert params.inner_params == Sar.Params(margin=0.3) and params.copies == 2
    assert build_params(kind, {}, "reservoir").inner_params == Tent.Params()
    whole = {"inner": "sar", "inner_params": {"margin": 0.1, "radius": 0.2}, "inner.margin": 0.3}
    assert build_params(kind, whole, "reservoir").inner_params == Sar.Params(margin=0.3, radius=0.2)
    for values, words in (
        ({"inner.margin": 0.3}, "method 'tent' has no parameter 'margin'"),
        ({"inner": "sar", "inner.margin": -1}, "sar.margin must be at least 0"),
        ({"inner": "sra"}, "unknown method 'sra'; did you mean .*'sar'"),
        ({"inner_params": 3}, "inner_params must be a mapping"),
        ({"margin": 1}, "method 'reservoir' has no parameter 'margin'"),
    ):
        with pytest.raises(UserError, match=words):
            build_params(kind, values, "reservoir")


def test_a_plug_in_may_stand_around_another():
    made = make("reservoir", "buffer", **{"inner.inner": "sar", "inner.inner.margin": 2.0})
    assert isinstance(made.inner.inner, Sar) and made.inner.inner.params.margin == 2.0
    made.step(BATCHES[0])
    made.reset()


def test_what_was_changed_is_named_as_it_was_typed():
    kind = METHODS["reservoir"].Params
    usual = build_params(kind, {}, "reservoir")
    changed = build_params(kind, {"inner.lr": 0.5, "copies": 2}, "reservoir")
    assert changed_params(changed, usual) == {"inner.lr": 0.5, "copies": 2}


def test_a_preset_s_values_of_the_method_inside_hold():
    published, origin = published_for(METHODS["reservoir"], "imagenet-c", "resnet50", {})
    inside, of_inside = published_for(Tent, "imagenet-c", "resnet50", {})
    assert inside and {f"inner.{name}": value for name, value in inside.items()} == {
        name: value for name, value in published.items() if name.startswith("inner.")
    }
    assert f"tent: {of_inside}" in origin
    given = {"inner": "eata"}
    eata, _ = published_for(METHODS["reservoir"], "imagenet-c", "resnet50", given)
    expected, _ = published_for(Eata, "imagenet-c", "resnet50", {})
    assert {name for name in eata if name.startswith("inner.")} == {f"inner.{n}" for n in expected}


def test_a_run_knows_what_is_inside_however_it_is_written():
    dataset = open_dataset("digits-c")
    typed = RunConfig(method="reservoir", set={"inner": "sar", "inner.margin": 0.3})
    params, origin = resolve_params(METHODS["reservoir"], typed, dataset)
    assert params.inner_params.margin == 0.3 and "inner.margin=0.3" in origin
    typed = RunConfig(method="reservoir", set={"inner": "rmt"})
    assert resolve_params(METHODS["reservoir"], typed, dataset)[1].endswith(", with inner=rmt")
    nested = {"inner": "buffer", "inner.inner": "eata", "inner.inner.lr": 0.5}
    typed = RunConfig(method="reservoir", preset="imagenet-c", set=nested)
    deep, origin = resolve_params(METHODS["reservoir"], typed, dataset)
    assert deep.inner_params.inner_params.lr == 0.5
    assert origin.endswith("with inner=buffer, inner.inner=eata, inner.inner.lr=0.5")
    again = RunConfig(method="reservoir", set=plain_params(params))
    assert resolve_params(METHODS["reservoir"], again, dataset)[0] == params


def test_in_python_too():
    net = make_backbone("batch_norm").model
    adapted = tta.adapt(
        net, "buffer", mean=0.5, std=0.25, input_size=(3, 16, 16), **{"inner.lr": 0.1}
    )
    assert adapted.method.inner.params.lr == 0.1
    adapted(BATCHES[0])


def test_what_the_inside_has_prepared_is_kept_and_taken_again():
    class Entry:
        def load(self):
            return getattr(self, "stored", None)

        def save(self, preparation):
            file = io.BytesIO()
            torch.save(preparation, file)
            file.seek(0)
            self.stored = torch.load(file, weights_only=True)

    entry, made = Entry(), []
    for _ in range(2):
        method = METHODS["reservoir"]
        within = {f"inner.{key}": value for key, value in PARAMS["eata"].items()}
        values = build_params(method.Params, {"inner": "eata", **within, **FEW}, "reservoir")
        one = method(make_backbone("batch_norm"), values, seed=7)
        one.start(make_source(), entry)
        made.append([one.step(images) for images in BATCHES])
        assert one.inner.fisher.count_nonzero()
    assert all(torch.equal(*pair) for pair in zip(*made, strict=True))


def test_a_reservoir_around_another_plug_in_copies_what_that_trains():
    made = make("reservoir", "buffer", **{"inner.inner": "tent"})
    for images in (*BATCHES, BATCHES[0] * 0.02):
        made.step(images)
    assert len(made.copies) > 1
    assert set(made.copies[0]["inner"]) == {"parameters", "optimizer"}


@pytest.mark.parametrize("inner", ["lame", "t3a", "ttaug", "memo", "asr"])
def test_what_learns_by_no_optimiser_of_its_own_is_as_by_itself(inner):
    reservoir = make("reservoir", inner)
    method = METHODS[inner]
    values = build_params(method.Params, PARAMS.get(inner, {}), inner)
    alone = method(make_backbone("batch_norm"), values, seed=7)
    alone.start(make_source())
    assert reservoir.predicts == alone.predicts
    for images in BATCHES:
        assert torch.equal(reservoir.step(images), alone.step(images))


def test_a_mapping_of_values_goes_over_a_preset_s():
    whole = {"inner": "tent", "inner_params": {"lr": 0.5}}
    config = RunConfig(method="reservoir", preset="imagenet-c", set=whole)
    params, origin = resolve_params(METHODS["reservoir"], config, open_dataset("digits-c"))
    assert params.inner_params.lr == 0.5 and origin.endswith(", with inner.lr=0.5")
    deep = {"inner_params": {"inner": "eata", "inner_params": {"lr": 0.5}}, "inner": "buffer"}
    config = RunConfig(method="reservoir", set=deep)
    params, _ = resolve_params(METHODS["reservoir"], config, open_dataset("digits-c"))
    assert params.inner_params.inner_params.lr == 0.5


@pytest.mark.parametrize("values", [{"inner": 5}, {"inner": ["tent"]}, {"inner": None}])
def test_a_method_inside_that_is_no_text_is_refused_in_words(values):
    config = RunConfig(method="reservoir", set=values)
    with pytest.raises(UserError, match="reservoir.inner must be str"):
        resolve_params(METHODS["reservoir"], config, open_dataset("digits-c"))


OWN = """
from tta.methods import Method

class Mine(Method):
    name = "mine"

    def step(self, images):
        return {sign}self.predict(images)
"""


def test_a_run_is_known_by_the_code_and_the_files_of_what_is_inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prints = []
    for sign in ("", "-"):
        (tmp_path / "own.py").write_text(OWN.format(sign=sign))
        inside = {"inner": "own.py:Mine", "source_styles": 2}
        options = {"domains": ("fog",), "num_samples": 4, "set": inside}
        prints.append(build(RunConfig(method="reservoir", **options)).fingerprint())
        sys.modules.pop("own", None)
    assert prints[0] != prints[1]


def test_what_is_missing_inside_is_said_by_its_name_there():
    kind = METHODS["reservoir"]
    params = build_params(kind.Params, {"inner": "atlas"}, "reservoir")
    with pytest.raises(UserError, match=r"method 'atlas' .* pass --set inner.vectors=FILE"):
        check_needs(kind, params, make_backbone("batch_norm"), has_source=True)
    params = build_params(kind.Params, {"inner": "note"}, "reservoir")
    with pytest.raises(UserError, match=r"with --set inner.convert_batch_norm=true"):
        check_needs(kind, params, make_backbone("batch_norm"), has_source=True)


def test_hyper_parameters_of_the_usual_method_inside_are_listed(capsys):
    assert main(["--method", "reservoir", "--params"]) == 0
    text = capsys.readouterr().out
    assert "inner.lr" in text and "inner_params" not in text
