"""Options that are empty, and options that are numbers, alike in all three ways to give them."""

from __future__ import annotations

import dataclasses
from typing import get_type_hints

import pytest
import yaml

from tta.commands import compare, plot, report, sweep
from tta.commands.cli import guarded
from tta.commands.run import main
from tta.config import RunConfig, read_yaml
from tta.foundation.errors import UserError

HINTS = get_type_hints(RunConfig)
WORDS = [field.name for field in dataclasses.fields(RunConfig) if "str" in str(HINTS[field.name])]


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def test_there_are_such_options():
    named = {"weights", "source", "domains", "output", "data_dir", "decoded_cache", "backbone"}
    assert named <= set(WORDS)
    assert {"cloud_backbone", "cloud_weights", "method", "dataset", "scenario"} <= set(WORDS)


@pytest.mark.parametrize("empty", ["", " "])
@pytest.mark.parametrize("name", [*WORDS, "mean", "std"])
def test_an_empty_option_is_not_the_default(capsys, tmp_path, name, empty):
    if name == "set":
        return
    message = f"{flag(name)} is empty, as where a shell variable is unset; leave it out"
    for arguments in ([flag(name), empty], [f"{flag(name)}={empty}"]):
        assert main([*arguments, "--params"]) == 2
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert message in captured.err or f"{flag(name)} has an empty name" in captured.err
    value = [] if name in ("mean", "std", "domains", "compose") else empty
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({name: value}))
    for make in (
        lambda: RunConfig.from_mapping(read_yaml(tmp_path / "a.yaml"), "a.yaml"),
        lambda: RunConfig(**{name: tuple(value) if value == [] else value}),
    ):
        with pytest.raises(UserError, match=message):
            make()


@pytest.mark.parametrize("text", ["fog,", ",fog", "fog,,snow", " , "])
def test_an_empty_name_in_a_list(capsys, text):
    assert main(["--domains", text, "--params"]) == 2
    assert "--domains has an empty name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (main, ["--config", ""]),
        (compare.main, [""]),
        (report.main, [""]),
        (report.main, ["runs", "-o", ""]),
        (plot.main, ["stream", "", "-o", "a.svg"]),
        (plot.main, ["stream", "runs", "-o", ""]),
        (sweep.main, [""]),
    ],
)
def test_an_empty_path_is_not_the_folder_one_is_in(capsys, command, arguments):
    assert guarded(command)(arguments) == 2
    assert "is empty, as where a shell variable is unset" in capsys.readouterr().err


def test_numbers_are_one_or_one_per_channel(tmp_path):
    (tmp_path / "a.yaml").write_text("mean: [0.5, 0.4, 1]\nstd: 0.25")
    config = RunConfig.from_mapping(read_yaml(tmp_path / "a.yaml"), "a.yaml")
    assert (config.mean, config.std) == ((0.5, 0.4, 1), (0.25,))
    assert RunConfig.from_mapping(config.to_mapping(), "again") == config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mean", "0.5"], "--mean and --std belong together"),
        (["--mean", "0.5,a", "--std", "1"], "--mean: expected numbers with commas between"),
        (["--mean", "0.5,0.5", "--std", "1"], "needs 3 numbers, one per channel"),
        (["--mean", "0.5", "--std", "0"], "std must be above 0"),
        (["--mean=-0.1", "--std", "0.5"], "is not negative"),
        (["--mean", "nan", "--std", "0.5"], "must be finite"),
        (
            ["--mean", "123.675,116.28,103.53", "--std", "58.395,57.12,57.375"],
            "from 0 to 255, and images here go from 0 to 1; divide by 255: "
            "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
        ),
        (["--weights-kind", "best"], "--weights-kind must be one of auto, raw, ema"),
    ],
)
def test_normalisation_that_cannot_be_meant(capsys, arguments, message):
    assert main([*arguments, "--params"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("text", ["mean: [a, b, c]\nstd: 1", "mean: [true, 0, 0]\nstd: 1"])
def test_words_are_no_numbers(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match="mean must list numbers"):
        RunConfig.from_mapping(read_yaml(tmp_path / "a.yaml"), "a.yaml")


@pytest.mark.parametrize("name", ["domains", "compose"])
def test_text_is_no_list_of_names(name):
    with pytest.raises(UserError) as given:
        RunConfig(**{name: "fog"})
    with pytest.raises(UserError) as read:
        RunConfig.from_mapping({name: "fog"}, "RunConfig")
    assert str(given.value) == str(read.value)
    assert f"{name} must be a list of names, such as [fog, snow]" in str(given.value)
    with pytest.raises(UserError, match="must list names"):
        RunConfig(**{name: ("fog", 3)})
