"""What can be chosen: names and lines that are there, in lines of 100 characters."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest

from tests.reporting.fake_runs import write_run
from tta.commands.list import main
from tta.commands.listing import KINDS, listing
from tta.commands.run import main as run
from tta.datasets import DATASETS
from tta.foundation.errors import UserError
from tta.methods import METHODS, find_method
from tta.streams import SCENARIOS, find_scenario
from tta.tasks.metric import METRICS


def printed(capsys, *arguments):
    assert main(arguments) == 0
    return capsys.readouterr().out


def names(lines):
    return [line.split()[0] for line in lines if line and not line.startswith(" ")]


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_has_a_line_and_none_is_longer_than_100(kind):
    for long in (False, True):
        lines = listing(kind, long=long)
        assert names(lines) == list(KINDS[kind].names())
        assert max(map(len, lines)) <= 100
    assert all(KINDS[kind].line(name) for name in KINDS[kind].names())


def test_lines_are_read_from_source_as_the_objects_have_them():
    for registry, kind in ((METHODS, "methods"), (DATASETS, "datasets")):
        for name in registry:
            own = registry[name].__doc__.strip().partition("\n")[0].replace("``", "")
            assert own.removeprefix(f"{name}: ").removesuffix(".") == KINDS[kind].line(name)
    for name in SCENARIOS:
        assert find_scenario(name).description == KINDS["scenarios"].line(name)


def test_counts_and_how_to_ask(capsys):
    lines = printed(capsys).splitlines()
    for kind in KINDS:
        (line,) = [line for line in lines if line.startswith(f"{kind} ")]
        assert line.split()[1] == str(len(KINDS[kind].names()))
        assert line.endswith(f" {kind}")


def test_a_pattern_picks_names(capsys):
    assert names(printed(capsys, "methods", "ro*").splitlines()) == ["roid", "rotta"]
    assert "resnet18  " in printed(capsys, "backbones", "resnet1[78]*")
    assert "lraspp:ENCODER  a timm encoder" in printed(capsys, "backbones", "lraspp*")
    assert main(["methods", "tnet"]) == 2
    assert "none of the methods matches 'tnet'; did you mean 'tent'" in capsys.readouterr().err
    with pytest.raises(UserError, match="none of the presets matches 'x'"):
        listing("presets", "x")


def test_long_tells_what_is_known(capsys):
    text = printed(capsys, "methods", "foa", "--long")
    assert "ICML 2024" in text and "after the update" in text
    assert "source_at_prepare, vision_transformer" in text
    values = re.search(r"set +(.*(?:\n {10,}.*)*)", text)[1].split()
    pairs = [word for value in values for word in ("--set", value)]
    assert run(["--method", "foa", *pairs, "--params"]) == 0  # which checks them
    assert len(values) == len(dataclasses.fields(find_method("foa").Params))
    text = printed(capsys, "datasets", "cifar10-c", "--long")
    assert re.search("licence +CC BY 4.0", text) and re.search("classes +10\n", text)
    assert "jpeg_compression" in text
    assert "--dirichlet" in printed(capsys, "scenarios", "correlated", "--long")
    assert re.search("extends +imagenet-c\n", printed(capsys, "presets", "imagenet-n*", "--long"))
    assert re.search(
        "says +Constructs a ResNet-18", printed(capsys, "backbones", "resnet18", "--long")
    )
    assert "tta, cifar_resnet\n" in printed(capsys, "backbones", "cifar*")


def test_the_metrics_are_those_of_a_summary(tmp_path):
    summary = json.loads((write_run(tmp_path) / "summary.json").read_text())
    for metric in METRICS:
        assert f"mean_{metric.name}" in summary


def test_no_short_list_imports_what_takes_long():
    code = (
        "import sys; from tta.commands.listing import KINDS, listing; "
        "[listing(kind) for kind in KINDS]; "
        "sys.exit(bool({'torch', 'timm', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_narrow_terminal_gets_narrow_lists(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    assert max(map(len, printed(capsys, "datasets").splitlines())) <= 70
    monkeypatch.setenv("COLUMNS", "300")
    assert max(map(len, printed(capsys, "datasets", "--long").splitlines())) <= 100
