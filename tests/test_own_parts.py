"""A data set and an order of the stream of one's own, each in a file."""

import json
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fakes import RandomImages
from tta import datasets
from tta.commands.run import main
from tta.config import RunConfig
from tta.datasets import open_dataset
from tta.datasets.sending import Sender
from tta.foundation.errors import UserError
from tta.foundation.own_file import module_name
from tta.streams import SCENARIOS, ScenarioOptions, find_scenario, plan_stream

DATA = '''
import numpy as np
import torch
from tta.datasets import Benchmark, Dataset
from tta.datasets.digits import WEIGHTS

LEVEL = 100


class Stripes(Dataset):
    """Bright and dark images."""

    name = "stripes"
    domains = ("day", "night")
    num_classes = 10
    benchmark = Benchmark("test_resnet.r160_in1k", str(WEIGHTS))

    def labels(self, domain, severity):
        return np.arange(12) % 10

    def images(self, domain, severity, indices):
        level = LEVEL if domain == "day" else 7
        return torch.full((len(indices), 3, 32, 32), level, dtype=torch.uint8)
'''
ORDERS = '''
import dataclasses

from tta.streams import chosen_domains, draw, each_domain, in_turn, scenario, up_and_down


def backwards(catalog, options):
    """The domains from last to first."""
    return in_turn(chosen_domains(catalog, options), draw(catalog, options, each_domain)[::-1])


@scenario(up_and_down, uses=())
def waves(catalog, options):
    """Up and down, reset before each."""
    return in_turn(chosen_domains(catalog, options), draw(catalog, options, up_and_down), True)


def nothing(catalog, options):
    return None


def too_far(catalog, options):
    plan = backwards(catalog, options)
    plan.index[3] = 1000
    return plan


def floats(catalog, options):
    plan = backwards(catalog, options)
    return dataclasses.replace(plan, index=plan.index * 1.0)


def lists(catalog, options):
    plan = backwards(catalog, options)
    return dataclasses.replace(plan, visit=plan.visit.tolist())


def fails(catalog, options):
    return 1 / 0


class Order:
    pass
'''


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.py").write_text(DATA)
    (tmp_path / "orders.py").write_text(ORDERS)
    return tmp_path


def run(capsys, *options):
    status = main([*options, "--json", "--quiet"])
    text = capsys.readouterr()
    assert status == 0, text.err
    return json.loads(text.out)


OWN = ("--dataset", "data.py:Stripes", "--method", "bn")


def test_a_run_on_data_of_ones_own(files, capsys):
    summary = run(capsys, *OWN)
    assert summary["dataset"] == "stripes"
    assert [row["domain"] for row in summary["domains"]] == ["day", "night"]
    assert summary["samples"] == 24


def test_other_images_or_code_of_ones_own_are_another_run(files, capsys):
    first = run(capsys, *OWN)
    (files / "data.py").write_text(DATA.replace("LEVEL = 100", "LEVEL = 99"))
    second = run(capsys, *OWN)
    assert not second["reused"]
    assert first["data_digest"] != second["data_digest"]
    assert first["fingerprint"] != second["fingerprint"]
    (files / "data.py").write_text(DATA + "\nX = 1\n")
    third = run(capsys, *OWN)
    assert third["data_digest"] == first["data_digest"]
    assert third["code_digest"] != first["code_digest"]
    (files / "data.py").write_text(DATA + "\n# a word\n")
    assert run(capsys, *OWN)["reused"]


def test_data_without_a_digest_is_known_by_its_images():
    class Changed(RandomImages):
        def images(self, domain, severity, indices):
            return super().images(domain, severity, indices) ^ 1

    plain, again, changed = RandomImages(6), RandomImages(6), Changed(6)
    assert plain.digest() == again.digest() != changed.digest()
    plain.in_use = (("a", 5),)
    assert plain.digest() != again.digest()


def test_an_order_of_ones_own(files, capsys):
    catalog = RandomImages(size=9)
    plan = plan_stream("orders.py:backwards", catalog, ScenarioOptions())
    assert plan.domain.tolist() == [2] * 9 + [1] * 9 + [0] * 9
    plan = plan_stream("orders.py:waves", catalog, ScenarioOptions())
    assert plan.reset_before.sum() == 27
    assert find_scenario("orders.py:waves").description == "Up and down, reset before each"
    summary = run(
        capsys, "--scenario", "orders.py:backwards", "--method", "source", "--num-samples", "2"
    )
    assert summary["scenario"] == "backwards"
    assert summary["domains"][0]["domain"] == "jpeg_compression"
    again = run(
        capsys, "--scenario", "orders.py:backwards", "--method", "source", "--num-samples", "2"
    )
    assert again["reused"]


@pytest.mark.parametrize(
    ("specification", "words"),
    [
        ("orders.py:nothing", "'nothing' returned NoneType; return a tta.streams.StreamPlan"),
        ("orders.py:too_far", "shows images 0 to 1000 of .*, which has 9; count them from 0"),
        ("orders.py:floats", "gave index that is no array of integers"),
        ("orders.py:lists", "gave visit that is no array of integers"),
        (
            "orders.py:fails",
            r"scenario 'fails' fails in line 39 .ZeroDivisionError: division by zero",
        ),
        ("orders.py:Order", "no function named 'Order'"),
        ("orders.py:missing", "no function named 'missing'"),
        ("none.py:order", "scenario file 'none.py' does not exist"),
        ("backward", "unknown scenario 'backward'"),
    ],
)
def test_orders_that_are_none(files, specification, words):
    with pytest.raises(UserError, match=words):
        plan_stream(specification, RandomImages(size=9), ScenarioOptions())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (DATA.replace("(Dataset)", ""), "no subclass of tta.datasets.Dataset named 'Stripes'"),
        (DATA.replace("def images", "def pictures"), "lacks images; define it"),
        (DATA.replace("import torch", "import torhc"), "dataset file 'data.py' fails in line 3"),
        (DATA.replace("    name =", "    title ="), "has no name"),
        (
            DATA.replace("    name =", "    batch_size = 32\n    name ="),
            "has batch_size of its own, which nothing reads; write benchmark = "
            "Benchmark(batch_size=...), with Benchmark from tta.datasets",
        ),
        (
            DATA.replace(
                "    def labels",
                "    def __init__(self):\n        self.preset = self.source = ''\n\n    def labels",
                1,
            ),
            "has source and preset of its own, which nothing reads",
        ),
        (
            DATA.replace('Benchmark("test_resnet.r160_in1k", str(WEIGHTS))', '"digits-c"'),
            "has 'digits-c' as benchmark; give it a tta.datasets.Benchmark",
        ),
        (
            DATA.replace("return np.arange(12) % 10", "return None"),
            "labels() of 'data.py:Stripes', domain 'day' gives no",
        ),
        (DATA.replace("% 10", "% 11"), "gives 0 to 10, but there are 10 classes"),
        (DATA.replace("uint8", "float32"), "gives torch.float32 [1, 3, 32, 32] for one image"),
        (DATA.replace("LEVEL if", "LEVELS if"), "fails in line 22 (NameError: name 'LEVELS'"),
    ],
)
def test_data_sets_that_are_none(files, text, words, capsys):
    (files / "data.py").write_text(text)
    assert main([*OWN]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert words in message


def test_data_of_ones_own_is_loaded_in_processes_that_have_not_run_its_file(files):
    expected = open_dataset("data.py:Stripes")
    sent = Sender(expected).dumps()
    del sys.modules[module_name(files / "data.py")]
    found = pickle.loads(sent)
    assert found is not expected
    assert torch.equal(
        found.images("day", 0, np.arange(3)), expected.images("day", 0, np.arange(3))
    )


def test_what_follows_the_name_is_not_taken_for_a_choice(files):
    assert open_dataset("data.py:Stripes").domains == ("day", "night")
    assert np.array_equal(open_dataset("data.py:Stripes").labels("day", 0), np.arange(12) % 10)


def test_two_files_of_one_name_are_two(files, capsys):
    for folder, level in (("a", 100), ("b", 50)):
        (files / folder).mkdir()
        (files / folder / "data.py").write_text(DATA.replace("LEVEL = 100", f"LEVEL = {level}"))
    found = [open_dataset(f"{folder}/data.py:Stripes") for folder in "ab"]
    assert [int(data.images("day", 0, np.arange(1))[0, 0, 0, 0]) for data in found] == [100, 50]
    assert pickle.loads(Sender(found[0]).dumps()).digest() == found[0].digest()


def test_a_file_is_run_once_and_may_import_what_lies_beside_it(files, capsys):
    (files / "sub").mkdir()
    text = DATA.replace("LEVEL = 100", "from beside import LEVEL\nprint('run')")
    (files / "sub" / "data.py").write_text(text)
    (files / "sub" / "beside.py").write_text("LEVEL = 3\n")
    made = [open_dataset("sub/data.py:Stripes") for _ in range(3)]
    assert len(set(map(type, made))) == 1
    assert made[0].images("day", 0, np.arange(1)).unique().tolist() == [3]
    assert capsys.readouterr().out == "run\n"


def test_a_published_order_is_found(monkeypatch, files):
    class Point:
        group, name = "tta.scenarios", "published_order"

        def load(self):
            return find_scenario("orders.py:backwards")

    monkeypatch.setattr(SCENARIOS, "_published", lambda: {"published_order": Point()})
    assert SCENARIOS._group == "tta.scenarios"
    assert find_scenario("published_order").name == "backwards"


def test_options_that_became_hyper_parameters_are_named():
    with pytest.raises(UserError, match="hyper-parameter of cema: set: .upload_budget"):
        RunConfig.from_mapping({"method": "cema", "upload_budget": 0.5}, "old.yaml")


def test_the_examples_of_the_documentation_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = Path(datasets.__file__).parent / "README.md"
    data, order = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    Path("my_data.py").write_text(data)
    Path("my_order.py").write_text(order)
    parts = ("--dataset", "my_data.py:Stripes", "--scenario", "my_order.py:backwards")
    summary = run(capsys, *parts, "--method", "bn")
    assert [row["domain"] for row in summary["domains"]] == ["night", "day"]
