"""What is typed for several methods, and what is refused of it."""

import pytest

from tta.commands.cli import parse_settings
from tta.commands.run import main
from tta.commands.several import configs_of

REFUSED = {
    "--methods tent,tnet": "unknown method 'tnet'; did you mean 'tent'",
    "--methods tent,tent": "methods has 'tent' twice",
    "--methods tent,rmt --method tent": "the command line has method and methods: give one",
    "--methods tent,": "methods must be names such as tent,rmt",
    "--methods tent,rmt --set lr=0.1": "say whose it is, such as tent.lr",
    "--methods tent,rmt --set bn.lr=0.1": "'bn' is none of the methods",
    "--methods tent,rmt --set tent.lrr=0.1": "'tent' has no parameter 'lrr'; did you mean 'lr'",
    "--config both.yaml": "'both.yaml' has method and methods: give one of them",
    "--config set.yaml --methods tent,rmt": "say whose it is, such as tent.lr",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "both.yaml").write_text("method: tent\nmethods: [tent, rmt]\n")
    (tmp_path / "set.yaml").write_text("method: tent\nset: {lr: 0.1}\n")


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_meant_is_refused(line, capsys):
    assert main(line.split()) == 2
    said = capsys.readouterr().err
    assert REFUSED[line] in said
    assert said.count("\n") == 1


def test_each_method_gets_its_own_hyper_parameters():
    own = "my.folder/my_file.py:Mine"
    settings = parse_settings(["tent.lr=0.1", f"{own}.lr=0.2"])
    values = {"methods": ("tent", own, "bn"), "set": settings, "seed": 3}
    configs, is_list = configs_of(values, "here")
    assert is_list
    assert [config.method for config in configs] == ["tent", own, "bn"]
    assert [config.set for config in configs] == [{"lr": 0.1}, {"lr": 0.2}, {}]
    assert {config.seed for config in configs} == {3}


def test_one_method_is_as_it_was():
    (config,), is_list = configs_of({"method": "tent", "set": {"lr": 0.1}}, "here")
    assert (config.method, config.set, is_list) == ("tent", {"lr": 0.1}, False)


def test_parameters_of_all_of_them_are_shown(capsys):
    assert main(["--methods", "tent,lame", "--params"]) == 0
    assert capsys.readouterr().out.count("parameter") >= 2
