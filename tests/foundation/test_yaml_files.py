"""YAML of a user's: numbers as written, bounds, text in other encodings."""

import pytest

from tta.commands.cli import parse_settings
from tta.commands.run import main
from tta.config import RunConfig, read_yaml
from tta.foundation.errors import UserError
from tta.foundation.yaml_files import dump_yaml, parse_yaml
from tta.presets import load_preset, preset_names
from tta.sweeps.grid import read_grid

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("-2E+4", -2e4),
        ("1.e5", 1e5),
        (".5e3", 500.0),
        ("1_0e2", 1000.0),
        ("0.1", 0.1),
        ("'1e-3'", "1e-3"),
        ("1e", "1e"),
        ("e5", "e5"),
        ("1e-3x", "1e-3x"),
    ],
)
def test_numbers_are_numbers(text, value):
    assert parse_yaml(text, "text") == value
    assert parse_yaml(f"[{text}]", "text") == [value]


def test_numbers_in_every_place(tmp_path):
    assert parse_settings(["lr=1e-3"]) == {"lr": 0.001}
    file = tmp_path / "a.yaml"
    file.write_text("dirichlet: 1e-1\nnum_samples: 1e2\ncheckpoint_every: 1e6\nset: {lr: 1e-3}\n")
    config = RunConfig.from_mapping(read_yaml(file), "a.yaml")
    assert (config.dirichlet, config.num_samples, config.checkpoint_every) == (0.1, 100, 1e6)
    assert isinstance(config.num_samples, int)
    assert config.set == {"lr": 0.001}
    file.write_text("grid: {method: [tent], set.lr: [1e-3, 1e-4], num_samples: [1e2]}\n")
    cells = [cell.config for cell in read_grid(file)]
    assert [(c.set["lr"], c.num_samples) for c in cells] == [(1e-3, 100), (1e-4, 100)]


def test_presets_hold_no_text_that_is_a_number():
    def texts(value):
        if isinstance(value, dict):
            return [text for inner in value.values() for text in texts(inner)]
        return [value] if isinstance(value, str) else []

    for name in preset_names():
        for text in texts(load_preset(name)):
            with pytest.raises(ValueError):
                float(text)


def test_what_is_written_is_read_again():
    values = {"domains": ["1e5", "no", "1", "~", "2001-01-01"], "lr": 1e-05, "n": 3, "x": None}
    assert parse_yaml(dump_yaml(values), "text") == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: !!int x", "has a value that is not of its kind"),
        ("seed: !!bool x", "has a value that is not of its kind"),
        ("seed: !!int ''", "has a value that is not of its kind"),
        ("seed: !!timestamp x", "has a value that is not of its kind"),
        ("seed: 2024-13-45", "month must be in 1..12"),
        ("seed: " + "9" * 5000, "has a value that is not of its kind"),
        ("seed: 99999999999999999999", "--seed must be at most 9223372036854775807"),
        ("seed: 1.5", "seed must be a whole number, but got 1.5"),
        ("seed: 1e300", "--seed must be at most 9223372036854775807"),
        ("zipf: 0.5", "--zipf must be at least 1.01"),
        ("x: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("set: &a {b: *a}", "has a value that contains itself"),
        (LAUGHS, "stands for more than 100000 values"),
        ("[" * 100_000, "is nested too deeply"),
        ("x: " + "[" * 60 + "]" * 60, "is nested deeper than 50 levels"),
        ("x: " + "a" * (1 << 21), "is longer than 1048576 characters"),
        ("method: tent\nmethod: rmt", "it has 'method' twice; name it once in line 2"),
        ("domains: dig", "domains must be a list of names, such as [fog, snow] or null"),
        (
            "device: 3",
            "--device takes auto, cpu, mps, cuda or cuda:N, the N-th GPU from 0, but got 3",
        ),
        ("force: 3", "force must be true or false, but got 3"),
        ('output: "a\\0b"', "--output must be text without NUL"),
        ('weights: "\\ud800"', "--weights must be text without NUL"),
        ('domains: ["\\ud800"]', "--domains must be text without NUL"),
        ('set: {lr: "a\\0"}', "--set must be text without NUL"),
    ],
)
def test_bad_yaml_gets_one_line(tmp_path, monkeypatch, capsys, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(text)
    assert main(["--config", "a.yaml"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and len(error) < 700
    assert [file.name for file in tmp_path.iterdir()] == ["a.yaml"]


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("utf-16", "is UTF-16; save it as UTF-8"),
        ("utf-16-le", "is UTF-16 without a mark, or no text; save it as UTF-8"),
        ("utf-32", "is UTF-32; save it as UTF-8"),
        ("latin-1", "is not UTF-8 (line 2); save it as UTF-8"),
    ],
)
def test_other_encodings_are_named(tmp_path, encoding, message):
    file = tmp_path / "a.yaml"
    file.write_bytes("seed: 1\nmethod: tént\n".encode(encoding))
    with pytest.raises(UserError) as error:
        read_yaml(file)
    assert message in str(error.value)
    file.write_bytes("seed: 1\nmethod: tént\n".encode("utf-8-sig"))
    assert read_yaml(file) == {"seed": 1, "method": "tént"}


def test_merge_keys_and_aliases_of_a_usual_size_are_read():
    text = "base: &base {lr: 1e-3, momentum: 0.9}\nown: {<<: *base, lr: 0.1}\n"
    assert parse_yaml(text, "text")["own"] == {"lr": 0.1, "momentum": 0.9}
